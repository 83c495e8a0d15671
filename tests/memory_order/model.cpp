/* The protocols of shared memory under the memory model itself, which no processor shows in full: Relacy runs small programs in
 * every order, and with every stale value, that C11's atomics allow (https://github.com/dvyukov/relacy, Debian's relacy-dev).
 *
 *     model PROTOCOL [WITHOUT]     row, block, entry, table or version; WITHOUT an order that it needs, so that a test sees that
 *                                  this would be found: release-fence, acquire-fence, release-store or acquire-load
 *
 * Exits with 0 when the protocol holds, else prints the execution in which it does not.
 *
 * What is run is atomics.h as it is: the compiler's builtins in it are made Relacy's here. The plain accesses of the kernel are
 * relaxed ones, as the processor makes them; litmus.c has the same protocols with threads.
 */
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <relacy/relacy.hpp>

static const char *without = "";
static const unsigned ITERATIONS = 100000; /* where all orders are too many, so many random ones */

static rl::memory_order order_of(int order) {
    switch (order) {
    case __ATOMIC_ACQUIRE: return strcmp(without, "acquire-load") ? rl::mo_acquire : rl::mo_relaxed;
    case __ATOMIC_RELEASE: return strcmp(without, "release-store") ? rl::mo_release : rl::mo_relaxed;
    default: return rl::mo_relaxed;
    }
}

template <typename T> static T model_load(const T *at, int order) {
    return const_cast<rl::atomic<T> *>(reinterpret_cast<const rl::atomic<T> *>(at))->load(order_of(order), $);
}

template <typename T> static void model_store(T *at, T value, int order) {
    reinterpret_cast<rl::atomic<T> *>(at)->store(value, order_of(order), $);
}

static void model_fence(int order) {
    if (order == __ATOMIC_ACQUIRE && strcmp(without, "acquire-fence"))
        rl::atomic_thread_fence(rl::mo_acquire, $);
    if (order == __ATOMIC_RELEASE && strcmp(without, "release-fence"))
        rl::atomic_thread_fence(rl::mo_release, $);
}

#define __atomic_load_n(at, order) model_load(at, order)
#define __atomic_store_n(at, value, order) model_store(at, static_cast<decltype(*(at) + 0)>(value), order)
#define __atomic_thread_fence(order) model_fence(order)
#include "../../clients/python/featurestore_client/tables/atomics.h"

typedef rl::atomic<uint32_t> u32;
typedef rl::atomic<uint64_t> u64;

static uint32_t plain(u32 &at) { return at.load(rl::mo_relaxed, $); }
static uint64_t plain(u64 &at) { return at.load(rl::mo_relaxed, $); }
static void plain(u32 &at, uint32_t value) { at.store(value, rl::mo_relaxed, $); }
static void plain(u64 &at, uint64_t value) { at.store(value, rl::mo_relaxed, $); }

/* A row is copied whole, or not at all: apply_row and copy_row. */
struct Row : rl::test_suite<Row, 3> {
    u32 seq, a, b;
    void before() { plain(seq, 0), plain(a, 0), plain(b, 0); }
    void thread(unsigned index) {
        if (index == 0) {
            for (uint32_t value = 1; value <= 2; value++) {
                begin_change(&seq);
                plain(a, value), plain(b, value);
                end_change(&seq);
            }
            return;
        }
        uint32_t first = atomic_load_acquire_u32(&seq);
        if (first & 1)
            return;
        uint32_t seen_a = plain(a), seen_b = plain(b);
        atomic_fence_acquire();
        if (atomic_load_relaxed_u32(&seq) == first)
            RL_ASSERT(seen_a == first / 2 && seen_b == first / 2);
    }
};

/* A row's strings lie in a block that another row may have a moment later: give_block and take_block. */
struct Block : rl::test_suite<Block, 2> {
    u32 seq, unit, block[2];
    void before() { plain(seq, 2), plain(unit, 0), plain(block[0], 10), plain(block[1], 0); }
    void thread(unsigned index) {
        if (index == 0) {
            begin_change(&seq);
            plain(block[1], 11), plain(unit, 1);
            end_change(&seq);
            plain(block[0], 99); /* in the free list, or another row's */
            return;
        }
        uint32_t first = atomic_load_acquire_u32(&seq);
        if (first & 1)
            return;
        uint32_t seen_unit = plain(unit), seen = plain(block[seen_unit]);
        atomic_fence_acquire();
        if (atomic_load_relaxed_u32(&seq) == first)
            RL_ASSERT(seen == 10 + seen_unit);
    }
};

/* Who finds an index entry finds the row behind it written: insert_entry and next_candidate. */
struct Entry : rl::test_suite<Entry, 2> {
    u64 entry;
    u32 seq, key;
    void before() { plain(entry, 0), plain(seq, 0), plain(key, 0); }
    void thread(unsigned index) {
        if (index == 0) {
            begin_change(&seq);
            plain(key, 7);
            end_change(&seq);
            atomic_store_release_u64(&entry, 2);
        } else if (atomic_load_acquire_u64(&entry)) {
            RL_ASSERT(plain(seq) == 2 && plain(key) == 7);
        }
    }
};

/* A set of segments is seen whole: Control.publish and Control.read. */
struct Table : rl::test_suite<Table, 2> {
    u64 epoch, sets[2][2];
    void before() {
        plain(epoch, 1);
        for (int set = 0; set < 2; set++)
            plain(sets[set][0], set), plain(sets[set][1], set);
    }
    void thread(unsigned index) {
        if (index == 0) {
            for (uint64_t next = 2; next <= 4; next++) {
                atomic_fence_release();
                plain(sets[next & 1][0], next), plain(sets[next & 1][1], next);
                atomic_store_release_u64(&epoch, next);
            }
            return;
        }
        uint64_t first = atomic_load_acquire_u64(&epoch);
        uint64_t schema = plain(sets[first & 1][0]), arenas = plain(sets[first & 1][1]);
        atomic_fence_acquire();
        if (atomic_load_acquire_u64(&epoch) == first)
            RL_ASSERT(schema == first && arenas == first);
    }
};

/* Who sees a version of the catalog finds the definitions that it stands for: Catalog.move and Catalog.version. */
struct Version : rl::test_suite<Version, 2> {
    u64 version;
    u32 definitions;
    void before() { plain(version, 1), plain(definitions, 1); }
    void thread(unsigned index) {
        if (index == 0) {
            plain(definitions, 2);
            atomic_store_release_u64(&version, 2);
        } else {
            uint64_t seen = atomic_load_acquire_u64(&version);
            RL_ASSERT(plain(definitions) >= seen);
        }
    }
};

template <typename Suite> static int holds(rl::scheduler_type_e search) {
    rl::test_params params;
    params.search_type = search;
    params.iteration_count = ITERATIONS;
    return rl::simulate<Suite>(params) ? 0 : 1; /* Relacy may abort instead, once it has printed what it found */
}

int main(int count, char **arguments) {
    std::string protocol = count > 1 ? arguments[1] : "";
    if (count > 2)
        without = arguments[2];
    if (protocol == "row")
        return holds<Row>(rl::random_scheduler_type);
    if (protocol == "block")
        return holds<Block>(rl::fair_full_search_scheduler_type);
    if (protocol == "entry")
        return holds<Entry>(rl::fair_full_search_scheduler_type);
    if (protocol == "table")
        return holds<Table>(rl::random_scheduler_type);
    if (protocol == "version")
        return holds<Version>(rl::fair_full_search_scheduler_type);
    return 2;
}
