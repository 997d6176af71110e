// Affine moves of many numbers, with their gradients: what affine.py says in tensors, where raw numbers become log-scales
// by a bound that is one of three laws. Nothing is kept between the two passes but what was given.
//
// A number's raw numbers are the log-scale's and the shift.

#include <type_traits>

#include "vectors.h"

namespace {

constexpr int64_t ENOUGH = 1 << 14;  // numbers that are worth another thread

enum Law { EXP, TANH, SOFT_CLIP };

extern "C" struct Struct {
    int64_t numbers, stride, threads, law, inverse;  // stride: from one number's raw numbers to the next one's
    double limit;
};

template <class T> struct Tile : Vectors<T> {
    using Vectors<T>::LANES, Vectors<T>::exponential;
    using V = typename Vectors<T>::V;
    typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index __attribute__((vector_size(BYTES)));

    static V hyperbolic_tangent(V x) {
        if constexpr (sizeof(T) == 4) return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
        for (int i = 0; i < LANES; i++) x[i] = std::tanh(x[i]);
        return x;
    }

    // Pairs, one after the other in memory, as two vectors, and back.
    static void part(const T *pairs, V &first, V &second) {
        V a, b;
        std::memcpy(&a, pairs, BYTES), std::memcpy(&b, pairs + LANES, BYTES);
        Index even, odd;
        for (int i = 0; i < LANES; i++) even[i] = 2 * i, odd[i] = 2 * i + 1;
        first = __builtin_shuffle(a, b, even), second = __builtin_shuffle(a, b, odd);
    }
    static void pair(V first, V second, T *pairs) {
        Index low, high;
        for (int i = 0; i < LANES; i++) low[i] = i / 2 + i % 2 * LANES, high[i] = low[i] + LANES / 2;
        const V a = __builtin_shuffle(first, second, low), b = __builtin_shuffle(first, second, high);
        std::memcpy(pairs, &a, BYTES), std::memcpy(pairs + LANES, &b, BYTES);
    }

    V given, raw, shift;            // of the numbers of this tile
    V log_scale, steepness, scale;  // and what they come to: log_scale(raw), its slope, and what a number is multiplied by

    void read(const Struct &of, const T *numbers, const T *from, int64_t count) {
        if (count == LANES && of.stride == 2) {
            std::memcpy(&given, numbers, BYTES);
            part(from, raw, shift);
        } else {
            given = raw = shift = V{};
            std::memcpy(&given, numbers, count * sizeof(T));
            for (int64_t i = 0; i < count; i++) raw[i] = from[i * of.stride], shift[i] = from[i * of.stride + 1];
        }
        const T limit = of.limit;
        if (of.law == EXP) {
            log_scale = raw, steepness = V{} + 1;
        } else if (of.law == TANH) {
            log_scale = hyperbolic_tangent(raw / limit);
            steepness = 1 - log_scale * log_scale, log_scale *= limit;
        } else {
            const V share = limit / (limit + (raw < 0 ? -raw : raw));
            log_scale = raw * share, steepness = share * share;
        }
        scale = exponential(of.inverse ? log_scale : -log_scale);
    }
};

// each(tile, first, count) for all tiles of numbers, which have been read
template <class T, class Each> void tiles(const Struct &of, const T *numbers, const T *raw, const Each &each) {
    constexpr int64_t LANES = Tile<T>::LANES;
#pragma omp parallel for schedule(static) num_threads(std::min<int64_t>(of.threads, 1 + of.numbers / ENOUGH))
    for (int64_t first = 0; first < of.numbers; first += LANES) {
        const int64_t count = std::min(LANES, of.numbers - first);
        Tile<T> tile;
        tile.read(of, numbers + first, raw + first * of.stride, count);
        each(tile, first, count);
    }
}

template <class T> void move(const Struct &of, const T *numbers, const T *raw, T *moved, T *log_slopes) {
    tiles<T>(of, numbers, raw, [&](const Tile<T> &tile, int64_t first, int64_t count) {
        const auto to = of.inverse ? tile.given * tile.scale + tile.shift : (tile.given - tile.shift) * tile.scale;
        const auto log = of.inverse ? tile.log_scale : -tile.log_scale;
        std::memcpy(moved + first, &to, count * sizeof(T));
        std::memcpy(log_slopes + first, &log, count * sizeof(T));
    });
}

// gradients in what was given, (number), and in the raw numbers, (number, 2), of moved · y + log_slopes · log dy/dx
template <class T>
void pull(const Struct &of, const T *numbers, const T *raw, const T *moved, const T *log_slopes, T *in_numbers, T *in_raw) {
    tiles<T>(of, numbers, raw, [&](const Tile<T> &tile, int64_t first, int64_t count) {
        typename Tile<T>::V to{}, log{};
        std::memcpy(&to, moved + first, count * sizeof(T));
        std::memcpy(&log, log_slopes + first, count * sizeof(T));
        const auto in = to * tile.scale, stretch = of.inverse ? in * tile.given + log : in * (tile.shift - tile.given) - log;
        const auto in_log = stretch * tile.steepness, in_shift = of.inverse ? to : -in;
        std::memcpy(in_numbers + first, &in, count * sizeof(T));
        if (count == Tile<T>::LANES) return Tile<T>::pair(in_log, in_shift, in_raw + 2 * first);
        for (int64_t i = 0; i < count; i++) in_raw[2 * (first + i)] = in_log[i], in_raw[2 * (first + i) + 1] = in_shift[i];
    });
}

}  // namespace

SIZE_OF(Struct)
DOORS(Struct, float, float32)
DOORS(Struct, double, float64)
