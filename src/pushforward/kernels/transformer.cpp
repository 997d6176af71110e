// Reads new tokens of sequences into a causal transformer, keeps their keys and values, and answers for the token after each.
//
// A linear map is copied in panels of VECTORS vectors of outputs: (panel, input, output in the panel). The inputs of a few
// rows meet a panel in a tile. T is what is computed in, S what weights are kept in: bfloat16 weights meet inputs rounded to
// bfloat16, in pairs, and are summed in float32.

#include <omp.h>

#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "matrix.h"

namespace {

constexpr int ENOUGH = 1 << 15;  // multiplications in the smallest linear map that are worth another thread

typedef uint16_t bf16;
typedef uint32_t Pairs __attribute__((vector_size(BYTES), aligned(4), may_alias));

inline bf16 narrow(float x) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// A tile of pairs: x (row, k) and a panel (k / 2, output, k % 2).
template <int R> void pairs(const bf16 *x, int64_t stride, const bf16 *w, int64_t inputs, Sums<float> &sums) {
    using V = Vectors<float>::V;
    constexpr int LANES = Vectors<float>::LANES;
    V sum[R][VECTORS] = {};
    for (int64_t k = 0; k < inputs; k += 2, w += 2 * VECTORS * LANES) {
        Pairs weight[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) weight[j] = *reinterpret_cast<const Pairs *>(w + 2 * j * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < R; r++) {
            uint32_t pair;
            std::memcpy(&pair, x + r * stride + k, 4);
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++) {
#ifdef __AVX512BF16__
                const __m512bh input = (__m512bh)_mm512_set1_epi32(pair);
                sum[r][j] = (V)_mm512_dpbf16_ps((__m512)sum[r][j], input, (__m512bh)weight[j]);
#else
                float even, odd;
                const uint32_t low = pair << 16, high = pair & 0xffff0000u;
                std::memcpy(&even, &low, 4);
                std::memcpy(&odd, &high, 4);
                sum[r][j] += even * (V)(weight[j] << 16) + odd * (V)(weight[j] & 0xffff0000u);
#endif
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < VECTORS; j++) sums[r][j] = sum[r][j];
}

// `rows` rows of inputs times one panel.
inline void product(int64_t rows, const bf16 *x, const bf16 *w, int64_t inputs, Sums<float> &sums) {
    switch (rows) {
        case 1: return pairs<1>(x, inputs, w, inputs, sums);
        case 2: return pairs<2>(x, inputs, w, inputs, sums);
        case 3: return pairs<3>(x, inputs, w, inputs, sums);
        case 4: return pairs<4>(x, inputs, w, inputs, sums);
        case 5: return pairs<5>(x, inputs, w, inputs, sums);
        default: return pairs<6>(x, inputs, w, inputs, sums);
    }
}
template <class T> void product(int64_t rows, const T *x, const T *w, int64_t inputs, Sums<T> &sums) {
    tile<T, VECTORS>(rows, x, inputs, 1, w, VECTORS * Vectors<T>::LANES, inputs, sums);
}

}  // namespace

extern "C" {

struct LinearStruct {
    const void *weight;  // (panel, input, output in the panel)
    const void *bias;
    int64_t inputs, outputs;
};

struct NormStruct {
    const void *scale, *shift;
    double epsilon;
};

struct LayerStruct {
    NormStruct norm1, norm2;
    LinearStruct qkv, out, up, down;
    void *keys;    // (row, head, W/H, capacity)
    void *values;  // (row, head, capacity, W/H)
};

struct NetworkStruct {
    int64_t rows, tokens, width, heads, depth, capacity, threads;
    const void *added;        // (row, width): the context
    const void *positions;    // (token, width)
    const void *temperature;  // (row), or null
    void *answers;            // (row, tokens + 1, outputs): position t is for token t
    LinearStruct read, answer;
    const LayerStruct *layers;
};

int64_t panel_bytes() { return VECTORS * BYTES; }  // that the sums of a panel take

}  // extern "C"

SIZE_OF(LinearStruct)
SIZE_OF(NormStruct)
SIZE_OF(LayerStruct)
SIZE_OF(NetworkStruct)

namespace {

// New tokens of the rows first … first + rows − 1, read by a team of threads.
template <class T, class S> struct Step {
    using V = typename Vectors<T>::V;
    static constexpr int64_t LANES = Vectors<T>::LANES, PANEL = VECTORS * LANES, PAIR = sizeof(S) == 2 ? 2 : 1;

    const NetworkStruct &net;
    const int64_t first, rows, n, start, tokens;  // new tokens of a row, tokens before them, new tokens in all
    int team;
    std::vector<T> h, qkv, attended, hidden;

    Step(const NetworkStruct &net, int64_t first, int64_t rows, int64_t n, int64_t start, int team)
        : net(net), first(first), rows(rows), n(n), start(start), tokens(rows * n), team(team), h(tokens * net.width),
          qkv(3 * tokens * net.width), attended(tokens * net.width), hidden(4 * tokens * net.width) {}

    static S stored(T x) {
        if constexpr (sizeof(S) == 2) return narrow(x);
        else return x;
    }

    // epilogue(m, column, columns, y) for y = prologue(x[m]) · weight + bias, a panel at a time. A thread does its share:
    // of the tokens where there are many, else of the panels.
    template <class Prologue, class Epilogue>
    void linear(int me, const LinearStruct &map, const T *x, const Prologue &prologue, const Epilogue &epilogue) const {
        const int64_t panels = (map.outputs + PANEL - 1) / PANEL, depth = (map.inputs + PAIR - 1) / PAIR * PAIR;
        const bool by_token = tokens >= ROWS * team;
        auto share = [&](int64_t count, int64_t i) { return count * i / team; };
        const int64_t first = by_token ? share(tokens, me) : 0, last = by_token ? share(tokens, me + 1) : tokens;
        const int64_t left = by_token ? 0 : share(panels, me), right = by_token ? panels : share(panels, me + 1);
        if (first == last || left == right) return;
        thread_local std::vector<T> row;
        thread_local std::vector<S> input;
        row.resize(map.inputs);
        constexpr int64_t CHUNK = 96;  // tokens whose inputs stay near while all panels pass
        input.assign(std::min(CHUNK, last - first) * depth, S(0));
        for (int64_t from = first; from < last; from += CHUNK) {
            const int64_t until = std::min(from + CHUNK, last);
            for (int64_t m = from; m < until; m++) {
                prologue(x + m * map.inputs, row.data());
                for (int64_t k = 0; k < map.inputs; k++) input[(m - from) * depth + k] = stored(row[k]);
            }
            const int64_t tiles = (until - from + ROWS - 1) / ROWS;
            for (int64_t panel = left; panel < right; panel++) {
                const S *weight = static_cast<const S *>(map.weight) + panel * PANEL * depth;
                const T *bias = static_cast<const T *>(map.bias) + panel * PANEL;
                const int64_t columns = std::min<int64_t>(PANEL, map.outputs - panel * PANEL);
                for (int64_t i = 0; i < tiles; i++) {
                    const int64_t m = from + (until - from) * i / tiles;
                    const int64_t rows = from + (until - from) * (i + 1) / tiles - m;
                    const S *in = input.data() + (m - from) * depth;
                    Sums<T> sums;
                    product(rows, in, weight, depth, sums);
                    for (int64_t r = 0; r < rows; r++) {
                        for (int64_t j = 0; j < VECTORS; j++) sums[r][j] += Vectors<T>::load(bias + j * LANES);
                        epilogue(m + r, panel * PANEL, columns, sums[r]);
                    }
                }
            }
        }
    }

    static auto plain(int64_t inputs) {
        return [inputs](const T *x, T *y) { std::copy(x, x + inputs, y); };
    }

    auto normalised(const NormStruct &norm) const {
        const T *g = static_cast<const T *>(norm.scale), *b = static_cast<const T *>(norm.shift);
        return [this, g, b, epsilon = T(norm.epsilon)](const T *x, T *y) {
            const int64_t width = net.width;
            T mean = 0, square = 0;
#pragma omp simd reduction(+ : mean)
            for (int64_t k = 0; k < width; k++) mean += x[k];
            mean /= width;
#pragma omp simd reduction(+ : square)
            for (int64_t k = 0; k < width; k++) square += (x[k] - mean) * (x[k] - mean);
            const T inverse = 1 / std::sqrt(square / width + epsilon);
            for (int64_t k = 0; k < width; k++) y[k] = (x[k] - mean) * inverse * g[k] + b[k];
        };
    }

    // One row's head: its new keys and values go into the cache, and its new queries read it.
    void attend(const LayerStruct &layer, int64_t row, int64_t head) {
        const int64_t size = net.width / net.heads, capacity = net.capacity, width = net.width;
        const int64_t before = ((first + row) * net.heads + head) * size * capacity;
        T *keys = static_cast<T *>(layer.keys) + before, *values = static_cast<T *>(layer.values) + before;
        T scale = 1 / std::sqrt(T(size));
        if (net.temperature) scale /= static_cast<const T *>(net.temperature)[first + row];
        thread_local std::vector<T> weights;
        weights.resize(capacity + LANES);
        T *p = weights.data();
        for (int64_t i = 0; i < n; i++) {
            const int64_t seen = start + i + 1;
            const T *q = qkv.data() + (row * n + i) * 3 * width + head * size, *k = q + width, *v = k + width;
            for (int64_t d = 0; d < size; d++) keys[d * capacity + seen - 1] = k[d];
            std::copy(v, v + size, values + (seen - 1) * size);
            for (int64_t t = 0; t < seen; t += LANES) {  // capacity is a multiple of LANES
                V logits{};
                for (int64_t d = 0; d < size; d++) logits += q[d] * Vectors<T>::load(keys + d * capacity + t);
                Vectors<T>::store(p + t, logits * scale);
            }
            T most = p[0], total = 0;
#pragma omp simd reduction(max : most)
            for (int64_t t = 0; t < seen; t++) most = std::max(most, p[t]);
            for (int64_t t = 0; t < seen; t += LANES)
                Vectors<T>::store(p + t, Vectors<T>::exponential(Vectors<T>::load(p + t) - most));
#pragma omp simd reduction(+ : total)
            for (int64_t t = 0; t < seen; t++) total += p[t];
            T *out = attended.data() + (row * n + i) * width + head * size;
            std::fill(out, out + size, T(0));
            for (int64_t t = 0; t < seen; t++) {
                const T share = p[t] / total, *value = values + t * size;
                for (int64_t d = 0; d < size; d++) out[d] += share * value[d];
            }
        }
    }

    // What thread `me` of the team does.
    void read(const T *x, int me) {
        const int64_t width = net.width;
        auto wait = [&] {
            if (team > 1) {
#pragma omp barrier
            }
        };
        // what becomes of the sums y for token m and the columns from `column`: f(y, lane's column) to, or onto, an array
        auto each = [](int64_t columns, const V *y, const auto &f) {
            for (int64_t j = 0; j < columns; j += LANES) f(y[j / LANES], j, columns - j);
        };
        auto enter = [&](int64_t m, int64_t column, int64_t columns, const V *y) {
            const T *added = static_cast<const T *>(net.added) + (first + m / n) * width + column;
            const T *position = static_cast<const T *>(net.positions) + (start + m % n) * width + column;
            T *to = h.data() + m * width + column;
            each(columns, y, [&](V v, int64_t j, int64_t count) {
                Vectors<T>::store(to + j, v + Vectors<T>::load(position + j, count) + Vectors<T>::load(added + j, count), count);
            });
        };
        auto project = [&](int64_t m, int64_t column, int64_t columns, const V *y) {
            T *to = qkv.data() + m * 3 * width + column;
            each(columns, y, [&](V v, int64_t j, int64_t count) { Vectors<T>::store(to + j, v, count); });
        };
        auto gelu = [&](int64_t m, int64_t column, int64_t columns, const V *y) {
            T *to = hidden.data() + m * 4 * width + column;
            each(columns, y, [&](V v, int64_t j, int64_t count) {
                Vectors<T>::store(to + j, v / 2 * (1 + Vectors<T>::error_function(v * T(M_SQRT1_2))), count);
            });
        };
        auto add = [&](int64_t m, int64_t column, int64_t columns, const V *y) {
            T *to = h.data() + m * width + column;
            each(columns, y, [&](V v, int64_t j, int64_t count) {
                Vectors<T>::store(to + j, v + Vectors<T>::load(to + j, count), count);
            });
        };
        auto answer = [&](int64_t m, int64_t column, int64_t columns, const V *y) {
            const int64_t position = (first + m / n) * (net.tokens + 1) + start + m % n + 1;
            T *to = static_cast<T *>(net.answers) + position * net.answer.outputs + column;
            each(columns, y, [&](V v, int64_t j, int64_t count) { Vectors<T>::store(to + j, v, count); });
        };
        linear(me, net.read, x + first * n * net.read.inputs, plain(net.read.inputs), enter);
        wait();
        for (const LayerStruct *layer = net.layers; layer < net.layers + net.depth; layer++) {
            linear(me, layer->qkv, h.data(), normalised(layer->norm1), project);
            wait();
            for (int64_t i = me; i < rows * net.heads; i += team) attend(*layer, i / net.heads, i % net.heads);
            wait();
            linear(me, layer->out, attended.data(), plain(width), add);
            wait();
            linear(me, layer->up, h.data(), normalised(layer->norm2), gelu);
            wait();
            linear(me, layer->down, hidden.data(), plain(4 * width), add);
            wait();
        }
        linear(me, net.answer, h.data(), plain(width), answer);
    }
};

// Each thread reads rows of its own, and meets the others at the end; where rows are few, all read each row together.
template <class T, class S> void feed(const NetworkStruct &net, const T *x, int64_t n, int64_t start) {
    const int threads = std::min(net.threads, 1 + net.rows * n * net.width * net.width / ENOUGH);
    if (net.rows >= 4 * threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int i = 0; i < threads; i++) {
            const int64_t first = net.rows * i / threads, last = net.rows * (i + 1) / threads;
            Step<T, S>(net, first, last - first, n, start, 1).read(x, 0);
        }
    } else {
        Step<T, S> step(net, 0, net.rows, n, start, threads);
#pragma omp parallel num_threads(threads)
        {
#pragma omp single
            step.team = omp_get_num_threads();  // fewer than asked for, it may be
            step.read(x, omp_get_thread_num());
        }
    }
}

}  // namespace

extern "C" {

// x (row, n, feature) are the tokens start … start + n − 1
void feed_float32(const NetworkStruct *net, const float *x, int64_t n, int64_t start) { feed<float, float>(*net, x, n, start); }
void feed_float64(const NetworkStruct *net, const double *x, int64_t n, int64_t start) { feed<double, double>(*net, x, n, start); }
void feed_bfloat16(const NetworkStruct *net, const float *x, int64_t n, int64_t start) { feed<float, bf16>(*net, x, n, start); }

}  // extern "C"
