/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All locks of rt, in the order in which they may be taken; never two of the same line at once, and
 * never a callback with one held. gRPC is entered with (1) held: it does not call back, except for
 * the destruction of slices (which only counts, see blob.h) and its log.
 *
 *   1. weft_rt_call.lock    one call: what was sent, what is outstanding, what is to be told
 *   2. weft_rt_server.lock  the table of clients and live calls
 *   3. weft_rt_server.tls_lock  the current certificate (taken by gRPC's threads in handshakes)
 *   4. weft_rt_queue.lock, weft_rt_pool.lock, weft_rt_loop.lock  leaves
 */
#ifndef WEFT_RT_LOCKS_H
#define WEFT_RT_LOCKS_H

#include <pthread.h>

#if defined(__clang__)
#define WEFT_CAPABILITY(name) __attribute__((capability(name)))
#define WEFT_REQUIRES(lock)   __attribute__((requires_capability(lock)))
#else
#define WEFT_CAPABILITY(name)
#define WEFT_REQUIRES(lock)
#endif

#endif
