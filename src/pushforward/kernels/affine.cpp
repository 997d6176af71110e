// Affine moves of elements, and their gradients: the formulas of affine.py, for a vector of elements at a time. Nothing is
// kept between the two passes but x and its raw parameters, a log-scale and a shift.

#include "elementwise.h"

namespace {

constexpr int64_t ENOUGH = 1 << 14;  // elements that are worth another thread

enum Bound { EXP, TANH, SOFT_CLIP };

extern "C" struct Struct {
    MOVE_FIELDS, bound, inverse;
    double limit;
};

template <class T> struct Tile : Vectors<T> {
    using Vectors<T>::LANES, Vectors<T>::exponential, Vectors<T>::hyperbolic_tangent, Vectors<T>::size;
    using V = typename Vectors<T>::V;
    typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Index __attribute__((vector_size(BYTES)));

    const Bound bound;
    const bool inverse;
    const T limit;

    V x, raw, shift;
    V log_scale, steepness, scale;  // log_scale(raw), its derivative, and what an element is multiplied by
    V in_raw, in_shift;             // gradients

    explicit Tile(const Struct &of) : bound(Bound(of.bound)), inverse(of.inverse), limit(of.limit) {}

    static constexpr int64_t raws() { return 2; }

    void read(const T *elements, const T *from, int64_t stride, int64_t count) {
        x = this->load(elements, count);
        if (count == LANES && stride == 2) {
            split(from);
        } else {
            raw = shift = V{};
            for (int64_t i = 0; i < count; i++) raw[i] = from[i * stride], shift[i] = from[i * stride + 1];
        }
        if (bound == EXP) {
            log_scale = raw, steepness = V{} + 1;
        } else if (bound == TANH) {
            log_scale = hyperbolic_tangent(raw / limit);
            steepness = 1 - log_scale * log_scale, log_scale *= limit;
        } else {
            const V share = limit / (limit + size(raw));
            log_scale = raw * share, steepness = share * share;
        }
        scale = exponential(inverse ? log_scale : -log_scale);
    }

    void answer(V &y, V &log_slopes) const {
        y = inverse ? x * scale + shift : (x - shift) * scale;
        log_slopes = inverse ? log_scale : -log_scale;
    }

    V pull(V in_y, V in_log) {
        const V in_x = in_y * scale, in_log_scale = inverse ? in_x * x + in_log : in_x * (shift - x) - in_log;
        in_raw = in_log_scale * steepness, in_shift = inverse ? in_y : -in_x;
        return in_x;
    }

    // Pairs, one after the other in memory, as two vectors, and back.
    void split(const T *pairs) {
        const V a = this->load(pairs), b = this->load(pairs + LANES);
        Index even, odd;
        for (int i = 0; i < LANES; i++) even[i] = 2 * i, odd[i] = 2 * i + 1;
        raw = __builtin_shuffle(a, b, even), shift = __builtin_shuffle(a, b, odd);
    }
    void store_raw(T *pairs, int64_t count) const {
        if (count < LANES) {
            for (int64_t i = 0; i < count; i++) pairs[2 * i] = in_raw[i], pairs[2 * i + 1] = in_shift[i];
            return;
        }
        Index low, high;
        for (int i = 0; i < LANES; i++) low[i] = i / 2 + i % 2 * LANES, high[i] = low[i] + LANES / 2;
        this->store(pairs, __builtin_shuffle(in_raw, in_shift, low));
        this->store(pairs + LANES, __builtin_shuffle(in_raw, in_shift, high));
    }
};

}  // namespace

SIZE_OF(Struct)
MOVE_FUNCTIONS(float, float32)
MOVE_FUNCTIONS(double, float64)
