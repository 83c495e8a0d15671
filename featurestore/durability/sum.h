/* The checksum of a journal's messages: hash_bytes in four lanes, each of every fourth word, since one multiplication need not
 * wait for the last one then: a batch of a hundred rows is summed in a quarter of the time. A long one can be summed piece by
 * piece, each of whole blocks but for the last one.
 */
#ifndef FEATURESTORE_SUM_H
#define FEATURESTORE_SUM_H

#include "hash.h"

#define SUM_LANES 4
#define SUM_BLOCK_BYTES (8 * SUM_LANES)

typedef struct {
    uint64_t lanes[SUM_LANES];
} sum_state;

static inline sum_state sum_begin(uint64_t length) {
    sum_state state;
    for (int k = 0; k < SUM_LANES; k++)
        state.lanes[k] = hash_begin(length) + k;
    return state;
}

static inline sum_state sum_blocks(sum_state state, const void *data, uint64_t blocks) {
    const unsigned char *at = (const unsigned char *)data;
    for (; blocks; blocks--, at += SUM_BLOCK_BYTES)
        for (int k = 0; k < SUM_LANES; k++)
            state.lanes[k] = hash_words(state.lanes[k], at + 8 * k, 1);
    return state;
}

/* `rest`: the bytes behind the last whole block. */
static inline uint64_t sum_end(sum_state state, const void *rest, uint64_t bytes) {
    uint64_t all = hash_words(hash_begin(bytes), state.lanes, SUM_LANES);
    all = hash_words(all, rest, bytes / 8);
    return hash_end(all, (const unsigned char *)rest + bytes / 8 * 8, bytes % 8);
}

static inline uint64_t sum_bytes(const void *data, uint64_t length) {
    uint64_t blocks = length / SUM_BLOCK_BYTES;
    sum_state state = sum_blocks(sum_begin(length), data, blocks);
    return sum_end(state, (const unsigned char *)data + blocks * SUM_BLOCK_BYTES, length % SUM_BLOCK_BYTES);
}

#endif
