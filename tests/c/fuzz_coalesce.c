/*
 * Bursts of packets: made from templates so that they often belong together, then damaged. Whatever is
 * written must split again into packets of the same number and length.
 */
#include "coalesce.h"
#include "fuzz.h"
#include "packets.h"
#include "split.h"

#define ROOM 512
#define PACKETS 64

static struct coalesce coalesce;
static uint8_t packets[PACKETS][ROOM], written[VNET_HEADER_LEN + PACKETS * ROOM], out[PACKETS * (ROOM + 64)];
static struct aead_op ops[PACKETS];

static uint32_t next_packet(struct input *input, uint8_t *packet, uint32_t *sequence)
{
    uint8_t choice = take_byte(input), size = take_byte(input);
    struct packet_shape shape = {.version = choice & 1 ? 4 : 6,
                                 .protocol = choice & 2 ? PROTO_TCP : PROTO_UDP,
                                 .ttl = 64,
                                 .flags = choice & 4 ? 0x18 : 0x10,
                                 .sequence = *sequence,
                                 .payload = size,
                                 .options = choice & 8 ? 12 : 0};
    if (choice & 16)
        shape.sequence -= 2u * size; /* may stand before what is held */
    *sequence += size;
    uint32_t length = build_packet(packet, &shape);
    if (choice & 32)
        packet[take_word(input) % length] ^= take_byte(input);
    if (choice & 64)
        length = take_word(input) % (length + 1);
    struct inner inner;
    return inner_parse(packet, length, &inner) == 0 ? inner.length : 0;
}

static void check_item(const struct coalesce_item *item)
{
    size_t length = 0;
    for (uint32_t i = 0; i < item->iov_count; i++) {
        memcpy(written + length, item->iov[i].iov_base, item->iov[i].iov_len);
        length += item->iov[i].iov_len;
    }
    MUST(length == VNET_HEADER_LEN + item->length && item->length <= 65535);
    if (item->packets == 1)
        return;
    struct split split;
    MUST(split_parse(&split, written, length, true) == 0);
    MUST(split.segments == item->packets);
    MUST(split_next(&split, 0, out, sizeof out, ops, PACKETS) == item->packets);
    for (uint32_t i = 0; i < item->packets; i++) {
        struct inner inner;
        MUST(inner_parse(ops[i].data, ops[i].length, &inner) == 0);
        MUST(checksums_right(ops[i].data, inner.length));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint8_t features = take_byte(&input);
    uint32_t sequence = 0xffffff00, count = 0, total = 0;

    coalesce_begin(&coalesce, true, features & 1, features & 2);
    for (int i = 0; i < PACKETS && input.left > 0; i++) {
        uint32_t length = next_packet(&input, packets[i], &sequence);
        if (length > 0) {
            MUST(coalesce_add(&coalesce, packets[i], length) == 0);
            count++;
        }
    }
    size_t items = coalesce_finish(&coalesce);
    for (size_t i = 0; i < items; i++) {
        check_item(&coalesce.items[i]);
        total += coalesce.items[i].packets;
    }
    MUST(total == count);
    return 0;
}
