/*
 * When a socket's buffer overflows, what is lost is chance, and a flood loses less than it takes from others.
 * So while that happens the kernel drops most of what is no transport data and comes from where the flood
 * comes from: a source falls into one of 32 shares of the address space by a keyed hash; the other shares,
 * and transport data from anywhere, pass untouched. How much is let through follows what still comes, until
 * nothing needs to be dropped. On a machine that keeps up this does nothing at all.
 *
 * The more shares a flood comes from, the more of it is let through: with forged sources it comes from all of
 * them, newcomers too, and these need two messages of theirs to pass.
 *
 * A socket filter (classic BPF) does it; any process may attach one to its own socket. Time is an argument.
 */
#ifndef WGPY_POLICE_H
#define WGPY_POLICE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane.h"

#define POLICE_SHARES 32
#define POLICE_FLOOD 5000       /* messages a second that are no transport data: more is a flood */
#define POLICE_LET_THROUGH 3000 /* of them a second and share, while it lasts */
#define POLICE_LOOK_NS 100000000u
#define POLICE_RELAX_MOST 8 /* a flood that pauses is not let in at once */

/* One per socket; one thread. */
struct police {
    uint32_t keys[2];
    uint32_t flooding; /* a bit for each share; 0 = there is no filter */
    uint64_t keep;     /* of what these send, in 2^32nds */
    uint64_t looked_ns;
    uint32_t counts[POLICE_SHARES];
    bool overflows; /* since the last look */
};

/* For another socket from now on; removes a filter that an earlier owner left. -EIO: no randomness. */
int police_begin(struct police *police, int fd);
/* A message that was no transport data. */
void police_saw(struct police *police, const struct dp_address *source);
/* Every burst, and every POLICE_LOOK_NS while there is a filter. */
void police_look(struct police *police, int fd, uint64_t now_ns);

static inline bool police_is_thinning(const struct police *police)
{
    return police->flooding != 0;
}

#endif
