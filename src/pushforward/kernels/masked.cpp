// Reads new numbers of vectors into a masked perceptron of rectifiers, and answers for the next: what masked.py says in
// tensors is said here in loops, since a single number is too little arithmetic for a tensor operation to be worth its call.
//
// Values are (unit, row), a block of rows at a time. A unit is computed once, when the last number that it reads is there,
// from the units that are known then; every number is summed in an order that does not depend on what is read beside it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int BYTES = 64;  // of a vector
constexpr int VECTORS = 4;  // in a block of rows

extern "C" struct Layer {
    const void *weight;  // (unit, input), masked
    const void *bias;
    const void *added;     // (unit, row), or null: the context
    void *values;          // (unit, row)
    const int64_t *known;  // units that are known once t numbers are
    int64_t inputs, skips;
};

extern "C" struct Network {
    int64_t rows, tokens, raw, depth, threads;  // rows: a multiple of a block's
    const Layer *layers;  // the numbers, the hidden layers, the answers
};

template <class T> struct Block {
    typedef T V __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
    static constexpr int64_t LANES = BYTES / sizeof(T), ROWS = VECTORS * LANES;

    const Network &net;
    const int64_t first;  // row

    V *at(void *values, int64_t unit) const { return reinterpret_cast<V *>(static_cast<T *>(values) + unit * net.rows + first); }
    const V *at(const void *values, int64_t unit) const { return at(const_cast<void *>(values), unit); }

    // each(unit, sums) for R units, of the first `inputs` numbers of the layer before
    template <int R, class Each> void units(const Layer &layer, const Layer &before, int64_t unit, int64_t inputs, const Each &each) const {
        const T *weight = static_cast<const T *>(layer.weight) + unit * layer.inputs;
        V sum[R][VECTORS];
        for (int r = 0; r < R; r++)
            for (int j = 0; j < VECTORS; j++) sum[r][j] = V{} + static_cast<const T *>(layer.bias)[unit + r];
        for (int64_t i = 0; i < inputs; i++) {
            const V *v = at(before.values, i);
#pragma GCC unroll 4
            for (int r = 0; r < R; r++)
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; j++) sum[r][j] += weight[r * layer.inputs + i] * v[j];
        }
        for (int r = 0; r < R; r++) each(unit + r, sum[r]);
    }

    template <class Each> void units(const Layer &layer, const Layer &before, int64_t start, int64_t stop, int64_t inputs, const Each &each) const {
        for (; start + 4 <= stop; start += 4) units<4>(layer, before, start, inputs, each);
        for (; start < stop; start++) units<1>(layer, before, start, inputs, each);
    }

    void read(const T *x, int64_t rows, int64_t n, int64_t start, int64_t answered) const {
        const int64_t stop = start + n;
        for (int64_t row = first; row < std::min(rows, first + ROWS); row++)
            for (int64_t t = 0; t < n; t++) static_cast<T *>(net.layers->values)[(start + t) * net.rows + row] = x[row * n + t];
        thread_local std::vector<T> branch;  // what the residual branch began with, of the new units
        for (int64_t k = 1; k <= net.depth; k++) {
            const Layer &layer = net.layers[k], &before = net.layers[k - 1];
            const int64_t old = answered ? layer.known[start] : 0, now = layer.known[stop];
            if (branch.size() < size_t((now - old) * ROWS)) branch.resize((now - old) * ROWS);
            units(layer, before, old, now, before.known[stop], [&](int64_t unit, V *sum) {
                V *began = reinterpret_cast<V *>(branch.data() + (unit - old) * ROWS);
                for (int j = 0; j < VECTORS; j++) {
                    if (layer.added) sum[j] += at(layer.added, unit)[j];
                    if (layer.skips) sum[j] += began[j];
                    if (k % 2) began[j] = sum[j];
                    at(layer.values, unit)[j] = sum[j] > 0 ? sum[j] : sum[j] != sum[j] ? sum[j] : V{};
                }
            });
        }
        const Layer &answer = net.layers[net.depth + 1], &last = net.layers[net.depth];
        const int64_t told = std::min(stop + 1, net.tokens);
        units(answer, last, answered * net.raw, told * net.raw, last.known[stop], [&](int64_t unit, V *sum) {
            std::memcpy(at(answer.values, unit), sum, VECTORS * BYTES);
        });
    }
};

template <class T> void learn(const Network &net, const T *x, int64_t rows, int64_t n, int64_t start, int64_t answered) {
#pragma omp parallel for num_threads(net.threads) schedule(static)
    for (int64_t first = 0; first < net.rows; first += Block<T>::ROWS) Block<T>{net, first}.read(x, rows, n, start, answered);
}

}  // namespace

extern "C" {

int64_t sizeof_Layer() { return sizeof(Layer); }
int64_t sizeof_Network() { return sizeof(Network); }

// x (row, n) are the numbers start … start + n − 1; `answered` numbers have been answered for
void learn_float32(const Network *net, const float *x, int64_t rows, int64_t n, int64_t start, int64_t answered) {
    learn(*net, x, rows, n, start, answered);
}
void learn_float64(const Network *net, const double *x, int64_t rows, int64_t n, int64_t start, int64_t answered) {
    learn(*net, x, rows, n, start, answered);
}

}  // extern "C"
