/*
 * The cheap checks of handshake messages, so that a stranger's costs no public-key operation and never
 * reaches Python: index, mac1, and under load cookie and rate limit (paper section 5.3). What passes becomes
 * an event.
 */
#ifndef WGPY_RECEIVE_HANDSHAKE_H
#define WGPY_RECEIVE_HANDSHAKE_H

#include "internal.h"

/* `type` is message_type's answer for these bytes. Inbound worker. */
void handshake_arrived(struct dp *dp, uint32_t worker, const uint8_t *message, uint32_t length, uint32_t type,
                       const struct dp_endpoint *source, uint64_t now_ns);

#endif
