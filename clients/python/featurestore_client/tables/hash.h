/* Key hashes: the same on every run and every machine, as they decide a row's shard and its place in the index.
 *
 * One int64 goes through the 64-bit finalizer of MurmurHash3 (Austin Appleby, public domain description). Byte strings go
 * through 64 x 64 -> 128 bit multiplications whose halves are folded by xor, eight bytes at a time, the principle of wyhash
 * (Wang Yi). Neither resists an adversary who chooses keys: the index bounds its probes by its load, not by the hash.
 */
#ifndef FEATURESTORE_HASH_H
#define FEATURESTORE_HASH_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "segments and the wire are little-endian"
#endif

static inline uint64_t hash_int64(int64_t key) {
    uint64_t x = (uint64_t)key;
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    x ^= x >> 33;
    return x;
}

static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The words of a byte string that begins with `state`, so that a long one can be hashed piece by piece: see hash_bytes. */
static inline uint64_t hash_words(uint64_t state, const void *data, uint64_t words) {
    const unsigned char *at = (const unsigned char *)data;
    uint64_t word;
    for (; words; words--, at += 8) {
        memcpy(&word, at, 8);
        state = hash_fold(state ^ 0xa0761d6478bd642fULL, word ^ 0xe7037ed1a0b428dbULL);
    }
    return state;
}

static inline uint64_t hash_begin(uint64_t length) { return 0x9e3779b97f4a7c15ULL ^ length; }

/* `rest`: the bytes behind the last whole word. */
static inline uint64_t hash_end(uint64_t state, const void *rest, uint64_t bytes) {
    uint64_t word = 0;
    memcpy(&word, rest, bytes);
    state = hash_fold(state ^ 0x8ebc6af09c88c6e3ULL, word ^ 0x589965cc75374cc3ULL);
    return hash_int64((int64_t)state);
}

static inline uint64_t hash_bytes(const void *data, uint64_t length) {
    uint64_t state = hash_words(hash_begin(length), data, length / 8);
    return hash_end(state, (const unsigned char *)data + length / 8 * 8, length % 8);
}

#endif
