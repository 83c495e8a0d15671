/* The few atomic operations of the kernel, as compiler builtins: right on x86-64 and on ARM64.
 *
 * Row sequence lock. A row's sequence number is even while the row is at rest and odd while its one writer changes it.
 *
 *   writer                                   reader
 *   begin_change:  seq = odd     (relaxed)   first  = seq        (acquire; pairs with end_change)
 *                  release fence             ... copy the row ...
 *   ... plain stores to the row ...          acquire fence       (pairs with the release fence of begin_change)
 *   end_change:    seq = even    (release)   second = seq        (relaxed)
 *                                            the copy counts only if first is even and equals second
 *
 * If the reader's copy saw any store of a change, the two fences order it after that change's odd number, so that `second`
 * differs from `first`. The copies are plain memory accesses on purpose: a torn copy is thrown away, never looked at; offsets
 * found in one are bounds-checked before they are followed.
 *
 * Table sets (Control.publish and Control.read) are the same with two copies: a release fence stands before the stores to the set
 * that does not count, since the store of the epoch that made it so keeps back what is before it, not what comes after.
 *
 * tests/memory_order has each protocol under the memory model itself (model.cpp) and with threads (litmus.c).
 */
#ifndef FEATURESTORE_ATOMICS_H
#define FEATURESTORE_ATOMICS_H

#include <stdint.h>

static inline uint32_t atomic_load_acquire_u32(const void *at) { return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE); }
static inline uint32_t atomic_load_relaxed_u32(const void *at) { return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED); }
static inline uint64_t atomic_load_acquire_u64(const void *at) { return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE); }
static inline void atomic_store_release_u64(void *at, uint64_t value) { __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELEASE); }
static inline void atomic_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline void atomic_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }

static inline void begin_change(void *seq) {
    uint32_t now = __atomic_load_n((uint32_t *)seq, __ATOMIC_RELAXED);
    __atomic_store_n((uint32_t *)seq, now + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void end_change(void *seq) {
    uint32_t now = __atomic_load_n((uint32_t *)seq, __ATOMIC_RELAXED);
    __atomic_store_n((uint32_t *)seq, now + 1, __ATOMIC_RELEASE);
}

/* The empty statement is an effect: GCC takes a function that does nothing but prefetch for pure, and drops calls of it. */
static inline void prefetch_read(const void *at) { __builtin_prefetch(at, 0, 3); __asm__ __volatile__(""); }
static inline void prefetch_write(const void *at) { __builtin_prefetch(at, 1, 3); __asm__ __volatile__(""); }

static inline void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
