/* Inner packets of any bytes: the parser stays inside, and so does all that is built on what it accepted. */
#include "ecn.h"
#include "fuzz.h"
#include "icmp.h"
#include "packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inner inner;
    uint8_t answer[ICMP_MAX_LEN];
    if (size < 1)
        return 0;
    uint8_t outer = data[0], *packet = malloc(size); /* of its own, so that one byte too far is seen */
    size_t length = size - 1;
    MUST(packet);
    memcpy(packet, data + 1, length);
    if (length > 0 && inner_parse(packet, length, &inner) == 0) {
        MUST(inner.length <= length && inner.header_len <= inner.length);
        MUST(inner.source >= packet && inner.destination + (inner.version == 4 ? 4 : 16) <= packet + length);
        size_t answered = icmp_unreachable(packet, length, answer);
        MUST(answered <= ICMP_MAX_LEN);
        MUST(answered == 0 || inner_parse(answer, answered, &inner) == 0);
        ecn_decapsulate(outer, packet);
        MUST(inner_parse(packet, length, &inner) == 0);
    }
    free(packet);
    return 0;
}
