// A perceptron with ReLUs: its answers and its gradients.
//
// All is matrix products, tile by tile. Weights are first copied into panels, of as many columns as a tile has, and masks are
// multiplied in on the way. Products with what a whole panel masks are not computed: half of them, where a masked perceptron
// has many features. A few dozen rows at a time go through all layers, so that their values stay in the cache.

#include <vector>

#include "matrix.h"

namespace {

constexpr int64_t NEAR = 8 * ROWS;  // rows that go through all layers together
constexpr int64_t ENOUGH = 1 << 20;  // multiplications that are worth another thread
constexpr int64_t SPAN = 1024;      // rows that are summed before the sum is added to the others'

extern "C" struct Layer {
    const void *weight, *bias, *mask;  // (unit, input), (unit); the mask is like the weight, or null
    void *in_weight;                   // its gradient, or null where it is not wanted
    int64_t inputs, units, column;     // column: where the units' values begin in a row of memory
    int64_t skips;                     // whether the values two layers before are added
};

extern "C" struct Network {
    int64_t rows, width, features, depth, threads;  // width: elements in a row of memory, which begins with the features
    const Layer *layers;                            // the hidden ones, then the answers, which memory has no room for
};

template <class T> struct Perceptron : Vectors<T> {
    using Vectors<T>::LANES, Vectors<T>::load, Vectors<T>::store;
    using V = typename Vectors<T>::V;
    static constexpr int64_t WIDE = VECTORS * LANES;

    // (k, column) in panels of `wide` columns, fewer where they are masked: so more of them skip what they do not read. A panel
    // is read from `from` to `to`, and columns beyond the last are not used.
    struct Panels {
        int64_t depth, columns, wide;
        T *elements;
        std::vector<int64_t> from, to;

        Panels(int64_t depth, int64_t columns, bool masked, std::vector<T> &room)
            : depth(depth), columns(columns), wide((masked ? 2 : VECTORS) * LANES) {
            const int64_t n = (columns + wide - 1) / wide;
            room.resize(std::max<size_t>(room.size(), n * wide * depth));
            elements = room.data(), from.assign(n, 0), to.assign(n, depth);
        }
        T *at(int64_t p, int64_t k) const { return elements + (p * depth + k) * wide; }
    };

    // each(whole, row, column, sums) of a[row, k] · b[k, column], for a vector of columns, of which some are no more if not whole
    template <class Each> static void product(const T *a, int64_t stride, int64_t rows, const Panels &b, const Each &each) {
        Sums<T> sums;
        for (int64_t column = 0, p = 0; column < b.columns; column += b.wide, p++)
            for (int64_t row = 0; row < rows; row += ROWS) {
                const int64_t count = std::min<int64_t>(ROWS, rows - row), from = b.from[p];
                const int64_t columns = std::min(b.wide, b.columns - column), length = b.to[p] - from;
                tile<T>(count, columns, a + row * stride + from, stride, 1, b.at(p, from), b.wide, length, sums);
                for (int64_t r = 0; r < count; r++) {
                    int64_t j = 0;
                    for (; (j + 1) * LANES <= columns; j++) each(std::true_type(), row + r, column + j * LANES, sums[r][j]);
                    if (j * LANES < columns) each(std::false_type(), row + r, column + j * LANES, sums[r][j]);
                }
            }
    }

    const Network &net;
    int64_t threads;  // one where there is little work

    explicit Perceptron(const Network &net) : net(net) {
        int64_t work = 0;
        for (int64_t k = 1; k <= net.depth; k++) work += net.rows * layer(k).inputs * layer(k).units;
        threads = std::min(net.threads, 1 + work / ENOUGH);
    }

    const Layer &layer(int64_t k) const { return net.layers[k - 1]; }  // values k of the formulas; 0 are the features
    int64_t units(int64_t k) const { return k ? layer(k).units : net.features; }
    int64_t column(int64_t k) const { return k ? layer(k).column : 0; }

    // How many inputs each unit reads, up to the last that is not masked.
    static std::vector<int64_t> reads(const Layer &layer) {
        std::vector<int64_t> found(layer.units, layer.inputs);
        if (const T *mask = static_cast<const T *>(layer.mask))
            for (int64_t u = 0; u < layer.units; u++)
                while (found[u] && mask[u * layer.inputs + found[u] - 1] == 0) found[u]--;
        return found;
    }

    // Weights as products with them want them: (input, unit), and for gradients (unit, input).
    std::vector<Panels> panels(bool back) const {
        thread_local std::vector<std::vector<T>> room;  // kept: memory that is new at every call costs more than the copy
        room.resize(std::max<size_t>(room.size(), net.depth));
        std::vector<Panels> all;
        for (int64_t k = 1; k <= net.depth; k++) {
            const Layer &l = layer(k);
            Panels &found = all.emplace_back(back ? l.units : l.inputs, back ? l.inputs : l.units, l.mask, room[k - 1]);
            const T *weight = static_cast<const T *>(l.weight), *mask = static_cast<const T *>(l.mask);
            const std::vector<int64_t> last = reads(l);
            for (int64_t p = 0; p * found.wide < found.columns; p++) {
                const int64_t start = p * found.wide, stop = std::min(start + found.wide, found.columns);
                if (back) {
                    const auto reader = std::find_if(last.begin(), last.end(), [&](int64_t n) { return n > start; });
                    found.from[p] = reader - last.begin();
                    for (int64_t u = found.from[p]; u < l.units; u++)
                        masked(weight, mask, u * l.inputs + start, stop - start, found.at(p, u), 1);
                } else {
                    found.to[p] = *std::max_element(last.begin() + start, last.begin() + stop);
                    for (int64_t u = start; u < stop; u++)
                        masked(weight, mask, u * l.inputs, found.to[p], found.at(p, 0) + u - start, found.wide);
                }
            }
        }
        return all;
    }

    static void masked(const T *weight, const T *mask, int64_t first, int64_t count, T *to, int64_t step) {
        if (mask)
            for (int64_t i = 0; i < count; i++) to[i * step] = weight[first + i] * mask[first + i];
        else
            for (int64_t i = 0; i < count; i++) to[i * step] = weight[first + i];
    }

    // added (row, unit) is the context, or null. memory (row, width) keeps the values, or is null.
    void pass(const T *x, const T *added, int64_t stride, T *memory, T *answers) const {
        const std::vector<Panels> panels = this->panels(false);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t first = 0; first < net.rows; first += NEAR) {
            thread_local std::vector<T> scratch, branch;  // where nothing is kept; what a residual branch began with
            const int64_t rows = std::min(NEAR, net.rows - first);
            if (!memory) scratch.resize(std::max<size_t>(scratch.size(), NEAR * net.width));
            branch.resize(std::max<size_t>(branch.size(), NEAR * net.width));
            T *values = memory ? memory + first * net.width : scratch.data();
            for (int64_t row = 0; row < rows; row++)
                std::memcpy(values + row * net.width, x + (first + row) * net.features, net.features * sizeof(T));
            for (int64_t k = 1; k <= net.depth; k++) {
                const T *bias = static_cast<const T *>(layer(k).bias), *more = k == 1 ? added : nullptr;
                const bool last = k == net.depth, skips = layer(k).skips, branches = layer(std::min(net.depth, k + 2)).skips;
                const int64_t width = net.width, units = this->units(k), before = column(k - 1), here = column(k);
                product(values + before, width, rows, panels[k - 1], [&](auto whole, int64_t row, int64_t u, V v) {
                    const int64_t left = whole ? LANES : units - u;
                    v += load(bias + u, left);
                    if (last) return store(answers + (first + row) * units + u, v, left);
                    T *const began = branch.data() + row * width + u;
                    if (more) v += load(more + (first + row) * stride + u, left);
                    if (skips) v += load(began);
                    if (branches) store(began, v);
                    store(values + row * width + here + u, v <= 0 ? V{} : v);  // NaN stays
                });
            }
        }
    }

    // From gradients of the answers: of the values into `memory` as they stood there, of x, and of weights, where wanted.
    void pull(const T *values, const T *in_answers, T *memory, T *in_x) const {
        const std::vector<Panels> panels = this->panels(true);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t first = 0; first < net.rows; first += NEAR)
            for (int64_t k = net.depth; k > (in_x ? 0 : 1); k--) {
                const bool last = k == net.depth, skipped = k + 1 < net.depth && layer(k + 1).skips;
                const T *given = last ? in_answers + first * units(k) : memory + first * net.width + column(k);
                const int64_t stride = last ? units(k) : net.width, rows = std::min(NEAR, net.rows - first);
                const int64_t width = net.width, before = column(k - 1), skip = skipped ? column(k + 1) : 0;
                product(given, stride, rows, panels[k - 1], [&](auto whole, int64_t row, int64_t i, V v) {
                    row += first;
                    if (k == 1) return store(in_x + row * net.features + i, v, whole ? LANES : net.features - i);
                    v = load(values + row * width + before + i) <= 0 ? V{} : v;
                    if (skipped) v += load(memory + row * width + skip + i);
                    store(memory + row * width + before + i, v);
                });
            }
        for (int64_t k = 1; k <= net.depth; k++) {
            const bool last = k == net.depth;
            if (layer(k).in_weight)
                pull_weights(k, values, last ? in_answers : memory + column(k), last ? units(k) : net.width);
        }
    }

    void pull_weights(int64_t k, const T *values, const T *gradients, int64_t stride) const {
        const int64_t inputs = layer(k).inputs;
        const T *mask = static_cast<const T *>(layer(k).mask);
        const std::vector<int64_t> last = reads(layer(k));
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t unit = 0; unit < units(k); unit += ROWS) {
            const int64_t count = std::min<int64_t>(ROWS, units(k) - unit);
            const int64_t read = *std::max_element(last.begin() + unit, last.begin() + unit + count);
            T *in_weight = static_cast<T *>(layer(k).in_weight) + unit * inputs;
            std::fill(in_weight, in_weight + count * inputs, T(0));
            Sums<T> sums;
            for (int64_t i = 0; i < read; i += WIDE)
                for (int64_t row = 0; row < net.rows; row += SPAN) {
                    const T *a = gradients + row * stride + unit, *b = values + row * net.width + column(k - 1) + i;
                    tile<T>(count, std::min(WIDE, read - i), a, 1, stride, b, net.width, std::min(SPAN, net.rows - row), sums);
                    for (int64_t r = 0; r < count; r++)
                        for (int64_t c = i, stop = std::min(i + WIDE, read); c < stop; c += LANES) {
                            T *to = in_weight + r * inputs + c;
                            V sum = sums[r][(c - i) / LANES];
                            if (mask) sum *= load(mask + (unit + r) * inputs + c, stop - c);
                            store(to, load(to, stop - c) + sum, stop - c);
                        }
                }
        }
    }
};

}  // namespace

SIZE_OF(Layer)
SIZE_OF(Network)

extern "C" {

void pass_float32(const Network *net, const float *x, const float *added, int64_t stride, float *memory, float *answers) {
    Perceptron<float>(*net).pass(x, added, stride, memory, answers);
}
void pass_float64(const Network *net, const double *x, const double *added, int64_t stride, double *memory, double *answers) {
    Perceptron<double>(*net).pass(x, added, stride, memory, answers);
}
void pull_float32(const Network *net, const float *values, const float *in_answers, float *memory, float *in_x) {
    Perceptron<float>(*net).pull(values, in_answers, memory, in_x);
}
void pull_float64(const Network *net, const double *values, const double *in_answers, double *memory, double *in_x) {
    Perceptron<double>(*net).pull(values, in_answers, memory, in_x);
}

}  // extern "C"
