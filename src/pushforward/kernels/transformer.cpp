// A call reads n new tokens a row through a causal transformer, remembers their keys and values, and answers for the token
// after each. What transformer.py says in tensors is said here in loops over packed weights, for processors: a single
// token is too little arithmetic for a tensor operation to be worth its call.
//
// A linear map is packed in panels of four vectors of outputs: (panel, input, output in the panel). One row of inputs
// streams the weights in order, and several rows share them. Every number is summed in an order that does not depend on
// what is read beside it, so a token's answer has the same bits whether it is read alone or with others.
//
// T is what is computed in, S what weights are stored in. bfloat16 weights meet inputs rounded to bfloat16, in pairs, and
// are summed in float32.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

constexpr int VECTORS = 4;  // in a panel
constexpr int TILE = 6;  // rows that share a panel at most: 24 sums stay in registers
constexpr int BYTES = 64;  // of a vector
constexpr int ENOUGH = 1 << 15;  // multiplications in the smallest linear map that are worth another thread

template <class T> struct Vector { typedef T type __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias)); };
typedef uint16_t bf16;
typedef uint32_t Pairs __attribute__((vector_size(BYTES), aligned(4), may_alias));

inline bf16 narrow(float x) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline double exponential(double x) { return std::exp(x); }
inline float exponential(float x) {  // 2^n · e^r with |r| ≤ log(2) / 2, and a polynomial: within 2 units in the last place
    x = std::min(std::max(x, -87.0f), 88.0f);
    float n = std::nearbyint(x * 1.44269504f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return p * power;
}

inline double error_function(double x) { return std::erf(x); }
inline float error_function(float x) {  // x · p(x²) up to one, 1 − e^p(x) beyond: least squares at Chebyshev nodes
    const float a = std::min(std::fabs(x), 4.0f), s = x * x;
    float in = 7.882497111e-5f;
    for (float c : {-8.018854992e-4f, 5.189311943e-3f, -2.685432880e-2f, 1.128359746e-1f, -3.761262690e-1f, 1.128379166f})
        in = in * s + c;
    float out = -1.828450818e-5f;
    for (float c : {3.966124633e-4f, -3.959017882e-3f, 2.447846001e-2f, -1.071502403e-1f, -6.345092938e-1f,
                    -1.128868025f, 2.427083291e-5f})
        out = out * a + c;
    return a < 1 ? x * in : std::copysign(1 - exponential(out), x);
}

// R rows of inputs times one panel: out[r][0 … VECTORS) += sum over k of x[r][k] · w[k]
template <int R, class T>
inline void tile(const T *x, int64_t stride, const T *w, int64_t inputs, typename Vector<T>::type (*out)[VECTORS]) {
    typedef typename Vector<T>::type V;
    constexpr int LANES = BYTES / sizeof(T);
    V sum[R][VECTORS] = {};
    for (int64_t k = 0; k < inputs; k++, w += VECTORS * LANES) {
        V weight[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) weight[j] = *reinterpret_cast<const V *>(w + j * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; j++) sum[r][j] += x[r * stride + k] * weight[j];
    }
    std::memcpy(out, sum, sizeof(sum));
}

template <int R>
inline void tile(const bf16 *x, int64_t stride, const bf16 *w, int64_t inputs, Vector<float>::type (*out)[VECTORS]) {
    typedef Vector<float>::type V;
    constexpr int LANES = BYTES / sizeof(float);
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
                __m512bh input = (__m512bh)_mm512_set1_epi32(pair);
                sum[r][j] = (V)_mm512_dpbf16_ps((__m512)sum[r][j], input, (__m512bh)weight[j]);
#else
                float even, odd;
                uint32_t low = pair << 16, high = pair & 0xffff0000u;
                std::memcpy(&even, &low, 4);
                std::memcpy(&odd, &high, 4);
                sum[r][j] += even * (V)(weight[j] << 16) + odd * (V)(weight[j] & 0xffff0000u);
#endif
            }
        }
    }
    std::memcpy(out, sum, sizeof(sum));
}

}  // namespace

extern "C" {

struct Linear {
    const void *weight;  // packed
    const void *bias;
    int64_t inputs, outputs;
};

struct Norm {
    const void *scale, *shift;
    double epsilon;
};

struct Layer {
    Norm norm1, norm2;
    Linear qkv, out, up, down;
    void *keys;    // (row, head, W/H, capacity)
    void *values;  // (row, head, capacity, W/H)
};

struct Network {
    int64_t rows, tokens, width, heads, depth, capacity, threads;
    const void *added;        // (row, width): the context
    const void *positions;    // (token, width)
    const void *temperature;  // (row), or null
    void *answers;            // (row, tokens + 1, numbers): position t says of token t
    Linear read, answer;
    const Layer *layers;
};

int64_t sizeof_LinearStruct() { return sizeof(Linear); }
int64_t sizeof_NormStruct() { return sizeof(Norm); }
int64_t sizeof_LayerStruct() { return sizeof(Layer); }
int64_t sizeof_NetworkStruct() { return sizeof(Network); }

}  // extern "C"

namespace {

// New tokens of the rows first … first + rows − 1, read by a team of threads.
template <class T, class S> struct Step {
    typedef typename Vector<T>::type V;
    static constexpr int LANES = BYTES / sizeof(T), PANEL = VECTORS * LANES, PAIR = sizeof(S) == 2 ? 2 : 1;

    const Network &net;
    const int64_t first, rows, n, start, tokens;  // new tokens of a row, tokens before them, new tokens in all
    int team;
    std::vector<T> h, qkv, attended, hidden;

    Step(const Network &net, int64_t first, int64_t rows, int64_t n, int64_t start, int team)
        : net(net), first(first), rows(rows), n(n), start(start), tokens(rows * n), team(team), h(tokens * net.width),
          qkv(3 * tokens * net.width), attended(tokens * net.width), hidden(4 * tokens * net.width) {}

    static S stored(T x) {
        if constexpr (sizeof(S) == 2) return narrow(x);
        else return x;
    }

    // epilogue(m, column, columns, y) for y = prologue(x[m]) · weight + bias, a panel at a time. A thread does its share:
    // of the tokens where there are many, else of the panels.
    template <class Prologue, class Epilogue>
    void linear(int me, const Linear &map, const T *x, const Prologue &prologue, const Epilogue &epilogue) const {
        const int64_t panels = (map.outputs + PANEL - 1) / PANEL, depth = (map.inputs + PAIR - 1) / PAIR * PAIR;
        const bool by_token = tokens >= TILE * team;
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
            const int64_t tiles = (until - from + TILE - 1) / TILE;
            for (int64_t panel = left; panel < right; panel++) {
                const S *weight = static_cast<const S *>(map.weight) + panel * PANEL * depth;
                const T *bias = static_cast<const T *>(map.bias) + panel * PANEL;
                const int64_t columns = std::min<int64_t>(PANEL, map.outputs - panel * PANEL);
                for (int64_t i = 0; i < tiles; i++) {
                    const int64_t m = from + (until - from) * i / tiles;
                    const int64_t rows = from + (until - from) * (i + 1) / tiles - m;
                    const S *in = input.data() + (m - from) * depth;
                    V sums[TILE][VECTORS];
                    switch (rows) {
                        case 1: tile<1>(in, depth, weight, depth, sums); break;
                        case 2: tile<2>(in, depth, weight, depth, sums); break;
                        case 3: tile<3>(in, depth, weight, depth, sums); break;
                        case 4: tile<4>(in, depth, weight, depth, sums); break;
                        case 5: tile<5>(in, depth, weight, depth, sums); break;
                        default: tile<6>(in, depth, weight, depth, sums);
                    }
                    for (int64_t r = 0; r < rows; r++) {
                        T *sum = reinterpret_cast<T *>(sums[r]);
                        for (int64_t j = 0; j < columns; j++) sum[j] += bias[j];
                        epilogue(m + r, panel * PANEL, columns, sum);
                    }
                }
            }
        }
    }

    static auto plain(int64_t inputs) {
        return [inputs](const T *x, T *y) { std::copy(x, x + inputs, y); };
    }

    auto normalised(const Norm &norm) const {
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
    void attend(const Layer &layer, int64_t row, int64_t head) {
        const int64_t size = net.width / net.heads, capacity = net.capacity, width = net.width;
        const int64_t before = ((first + row) * net.heads + head) * size * capacity;
        T *keys = static_cast<T *>(layer.keys) + before, *values = static_cast<T *>(layer.values) + before;
        T scale = 1 / std::sqrt(T(size));
        if (net.temperature) scale /= static_cast<const T *>(net.temperature)[first + row];
        thread_local std::vector<T> weights;
        weights.resize(capacity);
        T *p = weights.data();
        for (int64_t i = 0; i < n; i++) {
            const int64_t seen = start + i + 1;
            const T *q = qkv.data() + (row * n + i) * 3 * width + head * size, *k = q + width, *v = k + width;
            for (int64_t d = 0; d < size; d++) keys[d * capacity + seen - 1] = k[d];
            std::copy(v, v + size, values + (seen - 1) * size);
            std::fill(p, p + seen, T(0));
            for (int64_t d = 0; d < size; d++) {
                const T factor = q[d] * scale, *key = keys + d * capacity;
                for (int64_t t = 0; t < seen; t++) p[t] += factor * key[t];
            }
            T most = p[0], total = 0;
#pragma omp simd reduction(max : most)
            for (int64_t t = 0; t < seen; t++) most = std::max(most, p[t]);
            for (int64_t t = 0; t < seen; t++) p[t] = exponential(p[t] - most);
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
        auto enter = [&](int64_t m, int64_t column, int64_t columns, const T *y) {
            const T *added = static_cast<const T *>(net.added) + (first + m / n) * width + column;
            const T *position = static_cast<const T *>(net.positions) + (start + m % n) * width + column;
            for (int64_t j = 0; j < columns; j++) h[m * width + column + j] = y[j] + position[j] + added[j];
        };
        auto project = [&](int64_t m, int64_t column, int64_t columns, const T *y) {
            std::copy(y, y + columns, qkv.data() + m * 3 * width + column);
        };
        auto gelu = [&](int64_t m, int64_t column, int64_t columns, const T *y) {
            T *to = hidden.data() + m * 4 * width + column;
            for (int64_t j = 0; j < columns; j++) to[j] = y[j] / 2 * (1 + error_function(y[j] * T(M_SQRT1_2)));
        };
        auto add = [&](int64_t m, int64_t column, int64_t columns, const T *y) {
            T *to = h.data() + m * width + column;
            for (int64_t j = 0; j < columns; j++) to[j] += y[j];
        };
        auto answer = [&](int64_t m, int64_t column, int64_t columns, const T *y) {
            const int64_t position = (first + m / n) * (net.tokens + 1) + start + m % n + 1;
            std::copy(y, y + columns, static_cast<T *>(net.answers) + position * net.answer.outputs + column);
        };
        linear(me, net.read, x + first * n * net.read.inputs, plain(net.read.inputs), enter);
        wait();
        for (const Layer *layer = net.layers; layer < net.layers + net.depth; layer++) {
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
template <class T, class S> void feed(const Network &net, const T *x, int64_t n, int64_t start) {
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
void feed_float32(const Network *net, const float *x, int64_t n, int64_t start) { feed<float, float>(*net, x, n, start); }
void feed_float64(const Network *net, const double *x, int64_t n, int64_t start) { feed<double, double>(*net, x, n, start); }
void feed_bfloat16(const Network *net, const float *x, int64_t n, int64_t start) { feed<float, bf16>(*net, x, n, start); }

}  // extern "C"
