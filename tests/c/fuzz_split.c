/* TUN frames of any bytes: whatever split_parse accepts becomes messages that parse again and carry every
 * byte. */
#include "fuzz.h"
#include "split.h"

static uint8_t out[90000];
static struct aead_op ops[64];

static uint32_t check_messages(const struct split *split, size_t count, uint32_t mtu, const uint8_t *end)
{
    uint32_t payload = 0;
    for (size_t i = 0; i < count; i++) {
        struct inner inner;
        MUST(ops[i].data + ops[i].length + TAG_LEN <= end);
        MUST(inner_parse(ops[i].data, ops[i].length, &inner) == 0);
        MUST(ops[i].length == padded_length(inner.length, mtu));
        for (uint32_t at = inner.length; at < ops[i].length; at++)
            MUST(ops[i].data[at] == 0);
        MUST(inner.length >= split->header_len);
        payload += inner.length - (split->gso_type == VNET_GSO_NONE ? 0 : split->header_len);
    }
    return payload;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    bool vnet = take_byte(&input) & 1;
    uint32_t mtu = take_word(&input), payload = 0, messages = 0;
    size_t capacity = 70000 + take_byte(&input), length = input.left;
    uint8_t *frame = malloc(length + 1);
    struct split split;
    MUST(frame);
    memcpy(frame, input.data, length);
    if (split_parse(&split, frame, length, vnet) == 0) {
        MUST(split.segments >= 1 && split.length <= length);
        while (split_left(&split)) {
            uint32_t expected = split_next_length(&split, mtu);
            size_t count = split_next(&split, mtu, out, capacity, ops, 64);
            if (count == 0) {
                MUST(expected > capacity);
                break;
            }
            MUST(split_message_len(ops[0].length) == expected);
            payload += check_messages(&split, count, mtu, out + capacity);
            messages += (uint32_t)count;
        }
        if (!split_left(&split))
            MUST(messages == split.segments &&
                 payload == split.length - (split.gso_type == VNET_GSO_NONE ? 0 : split.header_len));
    }
    free(frame);
    return 0;
}
