// The random numbers of philox.py: ten rounds of Philox4x32 for each block of four words, LANES blocks at a time.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int LANES = 16;
constexpr uint64_t M0 = 0xD2511F53, M1 = 0xCD9E8D57;
constexpr uint32_t W0 = 0x9E3779B9, W1 = 0xBB67AE85;

typedef uint32_t Counters[4][LANES];

void rounds(Counters &c, uint32_t k0, uint32_t k1) {
    for (int r = 0; r < 10; r++, k0 += W0, k1 += W1)
        for (int i = 0; i < LANES; i++) {
            const uint64_t first = M0 * c[0][i], second = M1 * c[2][i];
            const uint32_t c1 = c[1][i], c3 = c[3][i];
            c[0][i] = uint32_t(second >> 32) ^ c1 ^ k0, c[1][i] = uint32_t(second);
            c[2][i] = uint32_t(first >> 32) ^ c3 ^ k1, c[3][i] = uint32_t(first);
        }
}

// log(u) for u in (0, 1]: the exponent, and a polynomial on [sqrt(1/2), sqrt(2)).
inline float logarithm(float u) {
    uint32_t bits;
    std::memcpy(&bits, &u, 4);
    const uint32_t shifted = bits - 0x3F3504F3;  // of sqrt(1/2)
    const float exponent = float(int32_t(shifted) >> 23);
    const uint32_t mantissa = (shifted & 0x007FFFFF) + 0x3F3504F3;
    float m;
    std::memcpy(&m, &mantissa, 4);
    const float x = m - 1, x2 = x * x;
    float p = 7.0376836292e-2f;
    p = p * x - 1.1514610310e-1f, p = p * x + 1.1676998740e-1f, p = p * x - 1.2420140846e-1f;
    p = p * x + 1.4249322787e-1f, p = p * x - 1.6668057665e-1f, p = p * x + 2.0000714765e-1f;
    p = p * x - 2.4999993993e-1f, p = p * x + 3.3333331174e-1f;
    return x + (x2 * x * p - 0.5f * x2 + exponent * -2.12194440e-4f) + exponent * 0.693359375f;
}

// cos and sin of π · turn / 2³¹: a quarter of the circle, and polynomials in what is left of it.
inline void circle(int32_t turn, float &cosine, float &sine) {
    const int32_t quarter = int32_t((uint32_t(turn) + 0x20000000u) >> 30);
    const float x = float(int32_t(uint32_t(turn) - (uint32_t(quarter) << 30))) * float(M_PI / 2147483648.0), y = x * x;
    const float s = x + x * y * ((-1.9515295891e-4f * y + 8.3321608736e-3f) * y - 1.6666654611e-1f);
    const float c =
        1 - 0.5f * y + y * y * ((2.443315711809948e-5f * y - 1.388731625493765e-3f) * y + 4.166664568298827e-2f);
    const bool swapped = quarter & 1;
    cosine = swapped ? s : c, sine = swapped ? c : s;
    cosine = (quarter + 1) & 2 ? -cosine : cosine, sine = quarter & 2 ? -sine : sine;
}

struct Words {
    typedef int32_t Number;
    static void of(const Counters &c, Number *to) {
        for (int i = 0; i < LANES; i++)
            for (int j = 0; j < 4; j++) to[4 * i + j] = int32_t(c[j][i]);
    }
};

struct Uniform {
    typedef float Number;
    static void of(const Counters &c, Number *to) {
        for (int i = 0; i < LANES; i++)
            for (int j = 0; j < 4; j++) to[4 * i + j] = float(int32_t(c[j][i] >> 8)) * 0x1p-24f;
    }
};

struct Normal {
    typedef float Number;
    static void of(const Counters &c, Number *to) {
        float numbers[4][LANES];
        for (int j = 0; j < 4; j += 2)
            for (int i = 0; i < LANES; i++) {
                const float u = (float(int32_t(c[j][i] & 0x7FFFFFFF)) + 0.5f) * 0x1p-31f;
                const float radius = std::sqrt(-2 * logarithm(u));
                float cosine, sine;
                circle(int32_t(c[j + 1][i]), cosine, sine);
                numbers[j][i] = radius * cosine, numbers[j + 1][i] = radius * sine;
            }
        for (int i = 0; i < LANES; i++)
            for (int j = 0; j < 4; j++) to[4 * i + j] = numbers[j][i];
    }
};

// out (n, count): the counters of a block are its number, that of the draw, and the low and high half of the row.
template <class Kind>
void fill(typename Kind::Number *out, const int64_t *rows, int64_t n, int64_t count, const int64_t *key, int64_t draw,
          int64_t threads) {
    constexpr int64_t WHOLE = 4 * LANES;
    const int64_t pieces = (count + WHOLE - 1) / WHOLE;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t piece = 0; piece < n * pieces; piece++) {
        const int64_t row = piece / pieces, start = piece % pieces * WHOLE;
        Counters c;
        for (int i = 0; i < LANES; i++) {
            c[0][i] = uint32_t(start / 4 + i), c[1][i] = uint32_t(draw);
            c[2][i] = uint32_t(rows[row]), c[3][i] = uint32_t(uint64_t(rows[row]) >> 32);
        }
        rounds(c, uint32_t(key[0]), uint32_t(key[1]));
        typename Kind::Number *to = out + row * count + start, some[WHOLE];
        const int64_t left = std::min(WHOLE, count - start);
        Kind::of(c, left == WHOLE ? to : some);
        if (left < WHOLE) std::copy(some, some + left, to);
    }
}

}  // namespace

#define FUNCTION(NAME, KIND)                                                                                           \
    extern "C" void NAME(KIND::Number *out, const int64_t *rows, int64_t n, int64_t count, const int64_t *key,         \
                         int64_t draw, int64_t threads) {                                                              \
        fill<KIND>(out, rows, n, count, key, draw, threads);                                                           \
    }

FUNCTION(words_int32, Words)
FUNCTION(uniform_float32, Uniform)
FUNCTION(normal_float32, Normal)
