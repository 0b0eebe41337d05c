#include "packet.h"

#include "packets.h"

static void only_exact_handshake_lengths_have_a_type(void)
{
    static const uint32_t exact[] = {0, 148, 92, 64};
    uint8_t message[200] = {0};
    for (uint32_t type = 0; type < 8; type++) {
        message[0] = (uint8_t)type;
        for (size_t length = 0; length <= sizeof message; length++) {
            int valid = (type >= 1 && type <= 3 && length == exact[type]) || (type == 4 && length >= 32);
            CHECK_EQUAL(message_type(message, length), valid ? type : 0);
        }
    }
    message[0] = 4;
    message[2] = 1; /* a reserved byte */
    CHECK_EQUAL(message_type(message, 64), 0);
}

static void the_receiver_is_found_in_each_message(void)
{
    uint8_t message[148] = {0};
    put_le32(message + 4, 11);
    put_le32(message + 8, 22);
    CHECK_EQUAL(message_receiver(message, MESSAGE_RESPONSE), 22);
    CHECK_EQUAL(message_receiver(message, MESSAGE_COOKIE_REPLY), 11);
    CHECK_EQUAL(message_receiver(message, MESSAGE_DATA), 11);
}

static void inner_lengths_must_fit(void)
{
    uint8_t packet[80] = {0x45, 0xb9};
    struct inner inner;
    packet[9] = 17;
    for (uint32_t length = 0; length <= 80; length++) {
        put_be16(packet + 2, (uint16_t)length);
        CHECK_EQUAL(inner_parse(packet, 64, &inner) == 0, length >= 20 && length <= 64);
    }
    put_be16(packet + 2, 30);
    CHECK_EQUAL(inner_parse(packet, 64, &inner), 0);
    CHECK(inner.length == 30 && inner.header_len == 20 && inner.version == 4 && inner.protocol == 17);
    CHECK(inner.ds == 0xb9 && inner.source == packet + 12 && inner.destination == packet + 16 &&
          !inner.fragment);
    packet[0] = 0x48; /* 32 bytes of header in a packet of 30 */
    CHECK_EQUAL(inner_parse(packet, 64, &inner), -EINVAL);
    packet[0] = 0x44;
    CHECK_EQUAL(inner_parse(packet, 64, &inner), -EINVAL);
    packet[0] = 0x45;
    packet[7] = 1;
    CHECK(inner_parse(packet, 64, &inner) == 0 && inner.fragment);

    packet[0] = 0x6b;
    packet[1] = 0x90;
    packet[6] = 6;
    for (uint32_t length = 0; length <= 60; length++) {
        put_be16(packet + 4, (uint16_t)length);
        CHECK_EQUAL(inner_parse(packet, 64, &inner) == 0, length <= 24);
    }
    put_be16(packet + 4, 24);
    CHECK_EQUAL(inner_parse(packet, 64, &inner), 0);
    CHECK(inner.length == 64 && inner.version == 6 && inner.protocol == 6 && inner.ds == 0xb9);
    CHECK(inner.source == packet + 8 && inner.destination == packet + 24);
    CHECK_EQUAL(inner_parse(packet, 39, &inner), -EINVAL);
    packet[0] = 0x50;
    CHECK_EQUAL(inner_parse(packet, 64, &inner), -EINVAL);
}

static void padding_stays_below_the_mtu(void)
{
    CHECK_EQUAL(padded_length(0, 1420), 0);
    CHECK_EQUAL(padded_length(1, 1420), 16);
    CHECK_EQUAL(padded_length(1408, 1420), 1408);
    CHECK_EQUAL(padded_length(1409, 1420), 1420);
    CHECK_EQUAL(padded_length(1420, 1420), 1420);
    CHECK_EQUAL(padded_length(1421, 1420), 1436);
    CHECK_EQUAL(padded_length(1421, 0), 1424);
    for (uint32_t mtu = 0; mtu < 200; mtu++) {
        for (uint32_t length = 1; length < 500; length++) {
            CHECK(padded_length(length, mtu) >= padded_length(length - 1, mtu));
            CHECK(padded_length(length, mtu) - length < 16);
        }
    }
}

int main(void)
{
    RUN(only_exact_handshake_lengths_have_a_type);
    RUN(the_receiver_is_found_in_each_message);
    RUN(inner_lengths_must_fit);
    RUN(padding_stays_below_the_mtu);
    return 0;
}
