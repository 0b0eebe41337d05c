#include "staged.h"

#include "harness.h"

static struct staged staged;
static _Atomic size_t device_bytes;
static uint8_t packet[70000];
static uint64_t now_ns = 1;

static uint32_t add(int control, uint32_t length)
{
    return staged_add(&staged, control, packet, length, 0, now_ns, &device_bytes);
}

static void packets_leave_in_order(void)
{
    for (uint8_t i = 0; i < 5; i++) {
        packet[0] = i;
        CHECK_EQUAL(add(0, 10), 0);
    }
    for (uint8_t i = 0; i < 5; i++) {
        struct staged_packet *taken = staged_take(&staged.user, &device_bytes);
        CHECK(taken && taken->data[0] == i && taken->length == 10);
        staged_free(taken);
    }
    CHECK(staged_take(&staged.user, &device_bytes) == NULL);
    CHECK_EQUAL(device_bytes, 0);
}

static void the_oldest_goes_when_there_are_too_many(void)
{
    for (uint32_t i = 0; i < STAGED_MAX_PACKETS; i++) {
        packet[0] = (uint8_t)i;
        CHECK_EQUAL(add(0, 10), 0);
    }
    packet[0] = 200;
    CHECK_EQUAL(add(0, 10), 1);
    CHECK_EQUAL(staged_count(&staged), STAGED_MAX_PACKETS);
    CHECK_EQUAL(staged.user.head->data[0], 1);
    CHECK_EQUAL(staged.user.tail->data[0], 200);
    CHECK_EQUAL(staged_drop(&staged, &device_bytes), STAGED_MAX_PACKETS);
    CHECK_EQUAL(device_bytes, 0);
}

static void bytes_are_bounded_too(void)
{
    uint32_t dropped = 0;
    for (int i = 0; i < 100; i++)
        dropped += add(0, 60000);
    CHECK(staged.user.bytes <= STAGED_MAX_BYTES);
    CHECK_EQUAL(dropped + staged.user.count, 100);
    CHECK_EQUAL(device_bytes, staged.user.bytes);
    staged_drop(&staged, &device_bytes);
}

static void a_full_device_takes_nothing_more(void)
{
    device_bytes = STAGED_MAX_DEVICE_BYTES - 5;
    CHECK_EQUAL(add(0, 10), 1);
    CHECK_EQUAL(staged_count(&staged), 0);
    device_bytes = 0;
}

static void user_packets_make_room_for_control_packets_and_not_the_reverse(void)
{
    for (uint32_t i = 0; i < STAGED_MAX_PACKETS; i++)
        add(0, 10);
    CHECK_EQUAL(add(1, 10), 1);
    CHECK_EQUAL(staged.control.count, 1);
    CHECK_EQUAL(staged.user.count, STAGED_MAX_PACKETS - 1);
    for (uint32_t i = 0; i < 2 * STAGED_MAX_PACKETS; i++)
        add(1, 10);
    CHECK_EQUAL(staged.control.count, STAGED_MAX_PACKETS);
    CHECK_EQUAL(add(0, 10), 1);
    CHECK_EQUAL(staged.user.count, 0);
    CHECK_EQUAL(staged.control.count, STAGED_MAX_PACKETS);
    staged_drop(&staged, &device_bytes);
}

static void what_waits_too_long_is_dropped(void)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(add(i == 1, 10), 0);
    now_ns += STAGED_MAX_AGE_NS;
    CHECK_EQUAL(add(0, 10), 0);
    CHECK_EQUAL(staged_expire(&staged, now_ns, &device_bytes), 0);
    CHECK_EQUAL(staged_expire(&staged, now_ns + 1, &device_bytes), 3);
    CHECK_EQUAL(staged_count(&staged), 1);
    CHECK_EQUAL(device_bytes, 10);
    CHECK_EQUAL(staged_expire(&staged, now_ns + STAGED_MAX_AGE_NS + 1, &device_bytes), 1);
    CHECK_EQUAL(device_bytes, 0);
}

int main(void)
{
    RUN(what_waits_too_long_is_dropped);
    RUN(packets_leave_in_order);
    RUN(the_oldest_goes_when_there_are_too_many);
    RUN(bytes_are_bounded_too);
    RUN(a_full_device_takes_nothing_more);
    RUN(user_packets_make_room_for_control_packets_and_not_the_reverse);
    return 0;
}
