/* The protocols of shared memory with threads, as fast as they go: natively, under ThreadSanitizer, and on ARM64 (under QEMU).
 *
 *     litmus SECONDS
 *
 * One writer and two readers for each: rows under their sequence lock with a checksum over each, index entries that lead to rows
 * which were never there before, strings in blocks that go from row to row, and table sets that are replaced. Prints how many
 * reads each took; ends with 1 at the first that was not whole. The plain accesses of the kernel are plain here too; under
 * ThreadSanitizer (-DRELAXED) relaxed ones, as it takes the others for races, which they are on purpose (atomics.h).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "atomics.h"
#include "hash.h"

enum { WORDS = 48, ROWS = 64, BLOCKS = 8, READERS = 2, ENTRIES = 1 << 14 };

#ifdef RELAXED
static void copy(void *to, const void *from, size_t bytes) {
    for (size_t at = 0; at < bytes / 4; at++)
        __atomic_store_n((uint32_t *)to + at, __atomic_load_n((const uint32_t *)from + at, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}
#else
#define copy memcpy
#endif

typedef struct {
    uint32_t seq, block;
    uint32_t words[WORDS];
    uint64_t sum; /* of the words */
} Row;

typedef struct {
    uint64_t sum; /* of the words */
    uint32_t words[WORDS];
} Block;

static Row rows[ROWS], fresh[ENTRIES], moving;
static Block blocks[BLOCKS];
static uint64_t entries[ENTRIES];
static uint64_t epoch = 1;
static uint64_t sets[2][1 + WORDS];
static atomic_int stopped;
static atomic_ullong reads, kept;

static uint64_t next(uint64_t *state) { return *state = (uint64_t)hash_int64((int64_t)(*state + 0x9e3779b97f4a7c15ULL)); }

static void fill(uint32_t *words, uint64_t *state) {
    for (int k = 0; k < WORDS; k++)
        words[k] = (uint32_t)next(state);
}

static void fail(const char *what) {
    printf("%s\n", what);
    fflush(stdout);
    _Exit(1);
}

/* ------------------------------------------------------------------------------------------------------------------- rows */

static void change_row(Row *row, uint64_t *state) {
    Row image;
    fill(image.words, state);
    image.sum = hash_bytes(image.words, sizeof image.words);
    begin_change(&row->seq);
    copy(row->words, image.words, sizeof image.words);
    copy(&row->sum, &image.sum, sizeof image.sum);
    end_change(&row->seq);
}

/* As copy_row: 0 when the row was being written. */
static int copy_row(Row *out, const Row *row) {
    uint32_t first = atomic_load_acquire_u32(&row->seq);
    if (first & 1)
        return 0;
    copy(out->words, row->words, sizeof out->words);
    copy(&out->sum, &row->sum, sizeof out->sum);
    atomic_fence_acquire();
    out->seq = first;
    return atomic_load_relaxed_u32(&row->seq) == first;
}

static void *write_rows(void *unused) {
    uint64_t state = 1;
    while (!atomic_load(&stopped)) {
        uint64_t chance = next(&state);
        change_row(&rows[chance % 8 ? chance % 4 : chance / 8 % ROWS], &state); /* a few are hot */
    }
    return unused;
}

static void *read_rows(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed, looked = 0, whole = 0;
    uint32_t newest[ROWS] = {0};
    Row found;
    while (!atomic_load(&stopped)) {
        uint64_t number = next(&state) % 2 ? next(&state) % 4 : next(&state) % ROWS;
        looked++;
        if (!copy_row(&found, &rows[number]))
            continue;
        whole++;
        if (found.seq && found.sum != hash_bytes(found.words, sizeof found.words))
            fail("a torn row was taken for whole");
        if ((int32_t)(found.seq - newest[number]) < 0)
            fail("an older row came back");
        newest[number] = found.seq;
    }
    reads += looked;
    kept += whole;
    return NULL;
}

/* ----------------------------------------------------------------------------------------------------------------- blocks */

/* A row moves from block to block; the one it leaves is written to at once, as another row's. */
static void *write_blocks(void *unused) {
    uint64_t state = 2;
    uint32_t used = 0;
    while (!atomic_load(&stopped)) {
        Block image;
        uint32_t unit = (uint32_t)(used + 1 + next(&state) % (BLOCKS - 1)) % BLOCKS;
        fill(image.words, &state);
        image.sum = hash_bytes(image.words, sizeof image.words);
        begin_change(&moving.seq);
        copy(&blocks[unit], &image, sizeof image);
        copy(&moving.block, &unit, sizeof unit);
        end_change(&moving.seq);
        memset(&image, 0xff, sizeof image);
        copy(&blocks[used], &image, sizeof image);
        used = unit;
    }
    return unused;
}

static void *read_blocks(void *unused) {
    uint64_t looked = 0, whole = 0;
    uint32_t unit;
    Block found;
    while (!atomic_load(&stopped)) {
        uint32_t first = atomic_load_acquire_u32(&moving.seq);
        looked++;
        if (first == 0 || first & 1)
            continue;
        copy(&unit, &moving.block, sizeof unit);
        copy(&found, &blocks[unit % BLOCKS], sizeof found);
        atomic_fence_acquire();
        if (atomic_load_relaxed_u32(&moving.seq) != first)
            continue;
        whole++;
        if (found.sum != hash_bytes(found.words, sizeof found.words))
            fail("another row's string was taken for this one's");
    }
    reads += looked;
    kept += whole;
    return unused;
}

/* ---------------------------------------------------------------------------------------------------------------- entries */

static void *write_entries(void *unused) {
    uint64_t state = 3;
    for (uint64_t number = 0; number < ENTRIES && !atomic_load(&stopped); number++) {
        change_row(&fresh[number], &state);
        atomic_store_release_u64(&entries[number], number + 2);
    }
    atomic_store(&stopped, 1); /* each place is new once */
    return unused;
}

static void *read_entries(void *unused) {
    uint64_t looked = 0, whole = 0, number = 0;
    Row found;
    while (number < ENTRIES && !(atomic_load(&stopped) && !atomic_load_acquire_u64(&entries[number]))) {
        uint64_t entry = atomic_load_acquire_u64(&entries[number]);
        looked++;
        if (entry == 0)
            continue;
        if (!copy_row(&found, &fresh[entry - 2]) || found.seq != 2)
            fail("an entry led to a row that was not written yet");
        if (found.sum != hash_bytes(found.words, sizeof found.words))
            fail("an entry led to a row that was not whole");
        whole++, number++;
    }
    reads += looked;
    kept += whole;
    return unused;
}

/* ------------------------------------------------------------------------------------------------------------- table sets */

static void *write_sets(void *unused) {
    uint64_t image[1 + WORDS];
    for (uint64_t following = 2; !atomic_load(&stopped); following++) {
        for (int k = 0; k <= WORDS; k++)
            image[k] = following * (uint64_t)(k + 1);
        atomic_fence_release();
        copy(sets[following & 1], image, sizeof image);
        atomic_store_release_u64(&epoch, following);
    }
    return unused;
}

static void *read_sets(void *unused) {
    uint64_t looked = 0, whole = 0;
    uint64_t found[1 + WORDS];
    while (!atomic_load(&stopped)) {
        uint64_t first = atomic_load_acquire_u64(&epoch);
        copy(found, sets[first & 1], sizeof found);
        atomic_fence_acquire();
        looked++;
        if (first == 1 || atomic_load_acquire_u64(&epoch) != first)
            continue;
        whole++;
        for (int k = 0; k <= WORDS; k++)
            if (found[k] != first * (uint64_t)(k + 1))
                fail("a table set was taken for whole while it was written");
    }
    reads += looked;
    kept += whole;
    return unused;
}

/* -------------------------------------------------------------------------------------------------------------------- run */

static void run(const char *name, void *(*write)(void *), void *(*read)(void *), double seconds) {
    pthread_t writer, readers[READERS];
    struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    stopped = 0;
    reads = kept = 0;
    for (uintptr_t k = 0; k < READERS; k++)
        pthread_create(&readers[k], NULL, read, (void *)(k + 1));
    pthread_create(&writer, NULL, write, NULL);
    if (write == write_entries)
        pthread_join(writer, NULL);
    else
        nanosleep(&pause, NULL);
    atomic_store(&stopped, 1);
    if (write != write_entries)
        pthread_join(writer, NULL);
    for (int k = 0; k < READERS; k++)
        pthread_join(readers[k], NULL);
    printf("%s: %llu reads, %llu of them whole at the first try\n", name, reads, kept);
    if (kept == 0)
        fail("nothing was read");
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 1;
    run("rows", write_rows, read_rows, seconds);
    run("blocks", write_blocks, read_blocks, seconds);
    run("entries", write_entries, read_entries, seconds);
    run("table sets", write_sets, read_sets, seconds);
    return 0;
}
