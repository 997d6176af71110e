// Reads new features of vectors into a masked perceptron with ReLUs, and answers for the next one.
//
// Values are (block of rows, unit, row in the block). A unit is computed once, when the last feature that it reads is there,
// from the units that are known then.

#include <vector>

#include "matrix.h"

namespace {

extern "C" struct Layer {
    const void *weight;  // (unit, input), masked
    const void *bias;
    const void *added;     // (block, unit, row in it), or null: the projected context
    void *values;          // (block, unit, row in it)
    const int64_t *known;  // units that are known once t features are
    int64_t units, inputs, skips;
};

extern "C" struct Network {
    int64_t rows, tokens, raw, depth, threads;
    const Layer *layers;  // the features, the hidden layers, the answers
};

template <class T> struct Block {
    using V = typename Vectors<T>::V;
    static constexpr int64_t LANES = Vectors<T>::LANES, WIDE = VECTORS * LANES;  // rows of a block

    const Network &net;
    const int64_t block, rows;

    T *at(void *values, const Layer &layer, int64_t unit) const {
        return static_cast<T *>(values) + (block * layer.units + unit) * WIDE;
    }

    // each(unit, sums) for the units from `start` to `stop`, of the first `inputs` values of the layer before
    template <class Each>
    void units(int64_t k, int64_t start, int64_t stop, int64_t inputs, const Each &each) const {
        const Layer &layer = net.layers[k], &before = net.layers[k - 1];
        const T *weight = static_cast<const T *>(layer.weight), *bias = static_cast<const T *>(layer.bias);
        const int64_t vectors = (rows + LANES - 1) / LANES;
        Sums<T> sums;
        for (int64_t unit = start; unit < stop; unit += ROWS) {
            const int64_t count = std::min<int64_t>(ROWS, stop - unit);
            tile<T>(count, rows, weight + unit * layer.inputs, layer.inputs, 1, at(before.values, before, 0), WIDE, inputs, sums);
            for (int64_t r = 0; r < count; r++) {
                for (int64_t j = 0; j < vectors; j++) sums[r][j] += bias[unit + r];
                each(unit + r, sums[r], vectors);
            }
        }
    }

    void read(const T *x, int64_t n, int64_t start, int64_t answered, T *answers) const {
        const int64_t stop = start + n;
        for (int64_t t = 0; t < n; t++)
            for (int64_t row = 0; row < rows; row++)
                at(net.layers->values, *net.layers, start + t)[row] = x[(block * WIDE + row) * n + t];
        thread_local std::vector<T> branch;  // what the residual branch began with, of the new units
        for (int64_t k = 1; k <= net.depth; k++) {
            const Layer &layer = net.layers[k];
            const int64_t old = answered ? layer.known[start] : 0, now = layer.known[stop];
            if (branch.size() < size_t((now - old) * WIDE)) branch.resize((now - old) * WIDE);
            units(k, old, now, net.layers[k - 1].known[stop], [&](int64_t unit, V *sums, int64_t vectors) {
                T *began = branch.data() + (unit - old) * WIDE, *values = at(layer.values, layer, unit);
                const T *added = layer.added ? at(const_cast<void *>(layer.added), layer, unit) : nullptr;
                for (int64_t j = 0; j < vectors; j++) {
                    V v = sums[j];
                    if (added) v += Vectors<T>::load(added + j * LANES);
                    if (layer.skips) v += Vectors<T>::load(began + j * LANES);
                    if (k % 2) Vectors<T>::store(began + j * LANES, v);
                    Vectors<T>::store(values + j * LANES, v <= 0 ? V{} : v);  // NaN stays
                }
            });
        }
        const Layer &answer = net.layers[net.depth + 1];
        const int64_t next = std::min(stop + 1, net.tokens), known = net.layers[net.depth].known[stop];
        units(net.depth + 1, answered * net.raw, next * net.raw, known, [&](int64_t unit, V *sums, int64_t vectors) {
            for (int64_t j = 0; j < vectors; j++) Vectors<T>::store(at(answer.values, answer, unit) + j * LANES, sums[j]);
        });
        const int64_t first = start * net.raw, count = next * net.raw - first;
        for (int64_t row = 0; row < rows; row++)
            for (int64_t j = 0; j < count; j++)
                answers[(block * WIDE + row) * count + j] = at(answer.values, answer, first + j)[row];
    }
};

template <class T> void learn(const Network &net, const T *x, int64_t n, int64_t start, int64_t answered, T *answers) {
    constexpr int64_t WIDE = Block<T>::WIDE;
    const int64_t blocks = (net.rows + WIDE - 1) / WIDE;
#pragma omp parallel for num_threads(std::min(net.threads, blocks)) schedule(static)
    for (int64_t block = 0; block < blocks; block++)
        Block<T>{net, block, std::min(WIDE, net.rows - block * WIDE)}.read(x, n, start, answered, answers);
}

}  // namespace

SIZE_OF(Layer)
SIZE_OF(Network)

extern "C" {

int64_t block_bytes() { return VECTORS * BYTES; }  // that a unit's values for a block of rows take

// x (row, n) are the features start … start + n − 1; `answered` features have been answered for. The answers (row, n + 1, raw)
// are for those features and the next one, if there is one.
void learn_float32(const Network *net, const float *x, int64_t n, int64_t start, int64_t answered, float *answers) {
    learn(*net, x, n, start, answered, answers);
}
void learn_float64(const Network *net, const double *x, int64_t n, int64_t start, int64_t answered, double *answers) {
    learn(*net, x, n, start, answered, answers);
}

}  // extern "C"
