// Rational-quadratic splines of elements, and their gradients: the formulas of moves/spline.py, for a vector of elements at a
// time, each with its own knots. Nothing is kept between the two passes but x and its raw parameters: the second one finds
// the bins again.

#include "elementwise.h"

namespace {

constexpr int MOST = 32;             // bins
constexpr int64_t ENOUGH = 1 << 12;  // elements that are worth another thread

extern "C" struct Struct {
    MOVE_FIELDS, bins, circular, inverse;
    double bound, contrast;
};

template <class T> struct Tile : Vectors<T> {
    using Vectors<T>::LANES, Vectors<T>::exponential, Vectors<T>::logarithm, Vectors<T>::root, Vectors<T>::size;
    using V = typename Vectors<T>::V;

    const int64_t bins;
    const bool circular, inverse;
    const T bound, sharp, steep;  // limits of the clips

    V raw[3 * MOST];
    V width[MOST], height[MOST];  // before they are scaled to 2 · bound, which takes wide and high
    V x[MOST + 1], y[MOST + 1];  // knots
    V wide, high;

    // where the element is: the bin, counted from 0, its ends, the log-slopes and slopes there, and the way from end to end
    V given, place, bin, x0, x1, y0, y1, log0, log1, d0, d1, s, z, v;

    explicit Tile(const Struct &of)
        : bins(of.bins), circular(of.circular), inverse(of.inverse), bound(of.bound), sharp(std::log(of.contrast) / 2),
          steep(std::log(of.contrast)) {}

    int64_t raws() const { return 3 * bins - !circular; }

    static V clip(V raw, T limit) { return limit * raw / (limit + size(raw)); }
    static V steepness(V raw, T limit) {  // of the clip
        const V share = limit / (limit + size(raw));
        return share * share;
    }

    V log_slope(int64_t knot) const {
        if (circular) return raw[2 * bins + knot % bins];
        return knot % bins ? raw[2 * bins + knot - 1] : V{};
    }

    V places(const V *logits, V *sizes, V *knots) const {
        V total{};
        for (int64_t k = 0; k < bins; k++) {
            sizes[k] = exponential(clip(logits[k], sharp));
            knots[k] = total;
            total += sizes[k];
        }
        const V scale = 2 * bound / total;
        for (int64_t k = 0; k < bins; k++) knots[k] = k ? knots[k] * scale - bound : V{} - bound;
        knots[bins] = V{} + bound;
        return scale;
    }

    void read(const T *elements, const T *from, int64_t stride, int64_t count) {
        given = this->load(elements, count);
        if (count < LANES) std::fill(raw, raw + raws(), V{});
        for (int64_t i = 0; i < count; i++)
            for (int64_t p = 0; p < raws(); p++) raw[p][i] = from[i * stride + p];
        wide = places(raw, width, x);
        high = places(raw + bins, height, y);
        place = given < -bound ? V{} - bound : given > bound ? V{} + bound : given;
        const V *edges = inverse ? y : x;
        bin = V{}, x0 = x[0], x1 = x[1], y0 = y[0], y1 = y[1], log0 = log_slope(0), log1 = log_slope(1);
        for (int64_t k = 1; k < bins; k++) {
            const auto beyond = place >= edges[k];
            const V log = log_slope(k + 1);
            bin = beyond ? V{} + T(k) : bin;
            x0 = beyond ? x1 : x0, y0 = beyond ? y1 : y0, log0 = beyond ? log1 : log0;
            x1 = beyond ? x[k + 1] : x1, y1 = beyond ? y[k + 1] : y1, log1 = beyond ? log : log1;
        }
        d0 = exponential(clip(log0, steep)), d1 = exponential(clip(log1, steep));
        s = (y1 - y0) / (x1 - x0);
        inverse ? back() : there();
    }

    void there() {
        z = (place - x0) / (x1 - x0), v = (x1 - place) / (x1 - x0);
    }

    void back() {
        const V u = (place - y0) / (y1 - y0), w = (y1 - place) / (y1 - y0), p = d0 * w, q = d1 * u;
        const V t = size(p - q) + root((p - q) * (p - q) + 4 * s * s * u * w);
        const auto first = p >= q;
        const V small = 2 * s * (first ? u : w);
        z = (first ? small : t) / (small + t), v = (first ? t : small) / (small + t);
    }

    V bottom() const { return s * (z * z + v * v) + (d0 + d1) * (z * v); }

    void answer(V &moved, V &log_slopes) const {
        const V zz = z * z, vv = v * v, zv = z * v, below = bottom();
        const auto lower = inverse ? z <= v : z * (s * z + d0 * v) <= v * (s * v + d1 * z);
        const V d = lower ? d0 : d1, near = lower ? zz : vv, far = lower ? vv : zz;
        const V secant = s * ((s * near + d * far) + (s + d) * zv) / below;
        const V log = logarithm((s * ((d1 * zz + d0 * vv) + 2 * s * zv) / below) * (s * ((zz + vv) + 2 * zv) / below));
        const V from = lower ? x0 : x1, to = lower ? y0 : y1;
        moved = inverse ? from + (place - to) / secant : to + (place - from) * secant;
        log_slopes = inverse ? -log : log;
        if (!circular) {
            const auto inside = size(given) < bound;
            moved = inside ? moved : given, log_slopes = inside ? log_slopes : V{};
        }
    }

    // Of the answer, times its gradients: the gradient in what was given; those in raw parameters take their place.
    V pull(V moved, V log_slopes) {
        const auto inside = size(given) < bound;
        const V outer = moved, none{};
        if (!circular) moved = inside ? moved : none, log_slopes = inside ? log_slopes : none;
        const V w = x1 - x0, h = y1 - y0, zz = z * z, vv = v * v, zv = z * v, below = bottom();
        const V top = d1 * zz + 2 * s * zv + d0 * vv, slope = s * s * top / (below * below);
        const V bend = 2 * ((d1 * z + s * (v - z) - d0 * v) / top - (d0 + d1 - 2 * s) * (v - z) / below) / w;
        V pulled = moved * slope + log_slopes * bend;
        if (inverse) {  // x(y) with y(x) = y: dx = (dy − what the raw parameters do to y) / slope, and a log-slope of other sign
            log_slopes = -log_slopes;
            pulled = (moved + log_slopes * bend) / slope;
            moved = -pulled;
        }
        const V far = moved * h * zv / (below * below), along = (moved * slope + log_slopes * bend) * w;
        const V in_s = far * (d1 * zz - d0 * vv) + 2 * log_slopes * (1 / s + zv / top - (zz + vv) / below);
        const V in_d0 = far * v * (s * v + d1 * z) + log_slopes * (vv / top - 2 * zv / below);
        const V in_d1 = -far * z * (s * z + d0 * v) + log_slopes * (zz / top - 2 * zv / below);
        const V in_h = moved * (s * zz + d0 * zv) / below + in_s / w;
        spread(raw, width, wide, (in_s * s - along * v) / w, -(in_s * s + along * z) / w, x0, x1);
        spread(raw + bins, height, high, moved - in_h, in_h, y0, y1);
        const V left = in_d0 * d0 * steepness(log0, steep), right = in_d1 * d1 * steepness(log1, steep);
        for (int64_t p = 2 * bins; p < raws(); p++) {
            const T knot = p - 2 * bins + !circular;
            raw[p] = (bin == knot ? left : none) + (bin + 1 == knot || bin + 1 == knot + T(bins) ? right : none);
        }
        return circular ? pulled : inside ? pulled : outer;
    }

    // From the ends of the bin to the logits of all: end k is scale · (the sizes before it) − bound, and the last is fixed.
    void spread(V *logits, const V *sizes, V scale, V in0, V in1, V end0, V end1) const {
        const V none{};
        in0 = bin > 0 ? in0 : none, in1 = bin < T(bins - 1) ? in1 : none;
        const V all = (in0 * (end0 + bound) + in1 * (end1 + bound)) * scale / (2 * bound);
        for (int64_t k = 0; k < bins; k++) {
            const V share = (bin > T(k) ? in0 : none) + (bin >= T(k) ? in1 : none);
            logits[k] = (scale * share - all) * sizes[k] * steepness(logits[k], sharp);
        }
    }

    void store_raw(T *to, int64_t count) const {
        for (int64_t i = 0; i < count; i++)
            for (int64_t p = 0; p < raws(); p++) to[i * raws() + p] = raw[p][i];
    }
};

}  // namespace

SIZE_OF(Struct)
MOVE_FUNCTIONS(float, float32)
MOVE_FUNCTIONS(double, float64)
