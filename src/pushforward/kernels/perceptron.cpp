// A perceptron of rectifiers, its pass and its gradients: what mlp.py says in tensors is said here in loops.
//
// All is matrix products, a tile of the answer at a time, held in registers: ROWS rows by up to VECTORS vectors of columns.
// Weights are copied into panels of so many columns first, and masks are multiplied in on the way. Where all of a panel's
// weights are masked, the products are not made: half of them, in a network of many sets. Rows are read a few dozen at a
// time, through all layers, so that their values stay near. A row's answer does not depend on the rows beside it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int BYTES = 64, ROWS = 8;  // of a vector; of a tile
#else
constexpr int BYTES = 32, ROWS = 6;
#endif
constexpr int VECTORS = 2;
constexpr int64_t NEAR = 6 * ROWS;  // rows that go through all layers together
constexpr int64_t SPAN = 1024;      // rows that are summed before the sum is added to the others'

extern "C" struct Layer {
    const void *weight, *bias, *mask;  // (unit, input), (unit); the mask is like the weight, or null
    void *in_weight;                   // its gradient, or null where it is not wanted
    int64_t inputs, units, column;     // column: where the units' values begin in a row of memory
    int64_t skips;                     // whether the values two layers before are added
};

extern "C" struct Network {
    int64_t rows, width, features, depth, threads;  // width: numbers in a row of memory, which begins with the features
    const Layer *layers;                                // the hidden ones, then the answers, which memory has no room for
};

template <class T> struct Loops {
    typedef T V __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
    static constexpr int64_t LANES = BYTES / sizeof(T), WIDE = VECTORS * LANES;

    static V &at(T *p) { return *reinterpret_cast<V *>(p); }
    static const V &at(const T *p) { return *reinterpret_cast<const V *>(p); }

    // (k, column) in panels of WIDE columns, where nothing comes of those beyond the last; a panel is read from `from` to `to`.
    struct Panels {
        int64_t depth, columns;
        T *numbers;
        std::vector<int64_t> from, to;

        Panels(int64_t depth, int64_t columns, std::vector<T> &room) : depth(depth), columns(columns) {
            const int64_t n = (columns + WIDE - 1) / WIDE;
            room.resize(std::max<size_t>(room.size(), n * WIDE * depth));
            numbers = room.data(), from.assign(n, 0), to.assign(n, depth);
        }
        T *at(int64_t p, int64_t k) const { return numbers + (p * depth + k) * WIDE; }
    };

    // each(row, column, vectors, count) of a[row, k] · b[k, column], for a row of a tile at a time
    template <class Each> static void product(const T *a, int64_t stride, int64_t rows, const Panels &b, const Each &each) {
        for (int64_t column = 0, p = 0; column < b.columns; column += WIDE, p++)
            for (int64_t row = 0; row < rows;) {
                const T *first = a + row * stride + b.from[p];
                const int64_t length = b.to[p] - b.from[p], left = b.columns - column;
                const auto placed = [&](int r, const V *sums, int n) { each(row + r, column, sums, n); };
                row += fitting(rows - row, left, first, stride, 1, b.at(p, b.from[p]), WIDE, length, placed);
            }
    }

    // One tile, of as many rows and vectors as are left: how many rows it had. a[row, k] is at a + row · down + k · along, and
    // b[k, column] at b + k · step + column.
    template <class Each>
    static int fitting(int64_t rows, int64_t columns, const T *a, int64_t down, int64_t along, const T *b, int64_t step,
                       int64_t length, const Each &each) {
        if (rows < ROWS)
            return columns > LANES ? tile<1, VECTORS>(a, down, along, b, step, length, each)
                                   : tile<1, 1>(a, down, along, b, step, length, each);
        return columns > LANES ? tile<ROWS, VECTORS>(a, down, along, b, step, length, each)
                               : tile<ROWS, 1>(a, down, along, b, step, length, each);
    }

    template <int R, int N, class Each>
    static int tile(const T *a, int64_t down, int64_t along, const T *b, int64_t step, int64_t length, const Each &each) {
        V sums[R][N] = {};
        for (int64_t k = 0; k < length; k++) {
            V v[N];
            for (int j = 0; j < N; j++) v[j] = at(b + k * step + j * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int j = 0; j < N; j++) sums[r][j] += a[r * down + k * along] * v[j];
        }
        for (int r = 0; r < R; r++) each(r, sums[r], N);
        return R;
    }

    // The numbers of n vectors, or as many as there are columns left.
    static void put(T *to, const V *sums, int n, int64_t columns) {
        for (int j = 0; j < n; j++, to += LANES, columns -= LANES)
            if (columns >= LANES)
                at(to) = sums[j];
            else
                std::memcpy(to, &sums[j], columns * sizeof(T));
    }

    static V get(const T *from, int64_t columns) {
        if (columns >= LANES) return at(from);
        V v{};
        std::memcpy(&v, from, columns * sizeof(T));
        return v;
    }

    const Network &net;

    const Layer &layer(int64_t k) const { return net.layers[k - 1]; }  // values k of the formulas; 0 are the numbers
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
            Panels &found = all.emplace_back(back ? l.units : l.inputs, back ? l.inputs : l.units, room[k - 1]);
            const T *weight = static_cast<const T *>(l.weight), *mask = static_cast<const T *>(l.mask);
            const std::vector<int64_t> last = reads(l);
            for (int64_t p = 0; p * WIDE < found.columns; p++) {
                const int64_t start = p * WIDE, stop = std::min(start + WIDE, found.columns);
                if (back) {
                    const auto reader = std::find_if(last.begin(), last.end(), [&](int64_t n) { return n > start; });
                    found.from[p] = reader - last.begin();
                    for (int64_t u = found.from[p]; u < l.units; u++)
                        masked(weight, mask, u * l.inputs + start, stop - start, found.at(p, u), 1);
                } else {
                    found.to[p] = *std::max_element(last.begin() + start, last.begin() + stop);
                    for (int64_t u = start; u < stop; u++)
                        masked(weight, mask, u * l.inputs, found.to[p], found.at(p, 0) + u - start, WIDE);
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
#pragma omp parallel for num_threads(net.threads) schedule(static)
        for (int64_t first = 0; first < net.rows; first += NEAR) {
            thread_local std::vector<T> scratch, branch;  // where nothing is kept; what a residual branch began with
            const int64_t rows = std::min(NEAR, net.rows - first);
            if (!memory) scratch.resize(std::max<size_t>(scratch.size(), NEAR * net.width));
            branch.resize(std::max<size_t>(branch.size(), NEAR * net.width));
            T *values = memory ? memory + first * net.width : scratch.data();
            for (int64_t row = 0; row < rows; row++)
                std::memcpy(values + row * net.width, x + (first + row) * net.features, net.features * sizeof(T));
            for (int64_t k = 1; k <= net.depth; k++) {
                const T *bias = static_cast<const T *>(layer(k).bias);
                const bool branches = layer(std::min(net.depth, k + 2)).skips;
                const T *given = values + column(k - 1);
                product(given, net.width, rows, panels[k - 1], [&](int64_t row, int64_t u, const V *sums, int n) {
                    for (int j = 0; j < n; j++, u += LANES) {
                        const int64_t left = units(k) - u;
                        V v = sums[j] + get(bias + u, left);
                        if (k == net.depth) {
                            put(answers + (first + row) * units(k) + u, &v, 1, left);
                            continue;
                        }
                        if (k == 1 && added) v += get(added + (first + row) * stride + u, left);
                        if (layer(k).skips) v += at(branch.data() + row * net.width + u);
                        if (branches) at(branch.data() + row * net.width + u) = v;
                        at(values + row * net.width + column(k) + u) = v <= 0 ? V{} : v;
                    }
                });
            }
        }
    }

    // From gradients of the answers: of the values into `memory` as they stood there, of x, and of weights, where wanted.
    void pull(const T *values, const T *in_answers, T *memory, T *in_x) const {
        const std::vector<Panels> panels = this->panels(true);
#pragma omp parallel for num_threads(net.threads) schedule(static)
        for (int64_t first = 0; first < net.rows; first += NEAR)
            for (int64_t k = net.depth; k > (in_x ? 0 : 1); k--) {
                const bool last = k == net.depth, skipped = k + 1 < net.depth && layer(k + 1).skips;
                const T *given = last ? in_answers + first * units(k) : memory + first * net.width + column(k);
                const int64_t stride = last ? units(k) : net.width, rows = std::min(NEAR, net.rows - first);
                product(given, stride, rows, panels[k - 1], [&](int64_t row, int64_t i, const V *sums, int n) {
                    row += first;
                    if (k == 1) return put(in_x + row * net.features + i, sums, n, net.features - i);
                    for (int j = 0; j < n; j++, i += LANES) {
                        const int64_t here = row * net.width + column(k - 1) + i;
                        V v = at(values + here) <= 0 ? V{} : sums[j];
                        if (skipped) v += at(memory + row * net.width + column(k + 1) + i);
                        at(memory + here) = v;
                    }
                });
            }
        for (int64_t k = 1; k <= net.depth; k++) {
            const bool last = k == net.depth;
            if (layer(k).in_weight)
                pull_weights(k, values, last ? in_answers : memory + column(k), last ? units(k) : net.width);
        }
    }

    void pull_weights(int64_t k, const T *values, const T *gradients, int64_t stride) const {
        const int64_t inputs = layer(k).inputs, blocks = units(k) / ROWS, rest = units(k) % ROWS;
        const T *mask = static_cast<const T *>(layer(k).mask);
        const std::vector<int64_t> last = reads(layer(k));
#pragma omp parallel for num_threads(net.threads) schedule(static)
        for (int64_t block = 0; block < blocks + rest; block++) {
            const bool whole = block < blocks;
            const int64_t unit = whole ? block * ROWS : units(k) - (blocks + rest - block), count = whole ? ROWS : 1;
            const int64_t read = *std::max_element(last.begin() + unit, last.begin() + unit + count);
            for (int64_t r = 0; r < count; r++) {
                T *to = static_cast<T *>(layer(k).in_weight) + (unit + r) * inputs;
                std::fill(to, to + inputs, T(0));
            }
            for (int64_t i = 0; i < read; i += WIDE)
                for (int64_t row = 0; row < net.rows; row += SPAN) {
                    const T *a = gradients + row * stride + unit, *b = values + row * net.width + column(k - 1) + i;
                    const int64_t length = std::min(SPAN, net.rows - row);
                    fitting(count, inputs - i, a, 1, stride, b, net.width, length, [&](int r, const V *sums, int n) {
                        const int64_t from = (unit + r) * inputs + i, many = std::min(n * LANES, inputs - i);
                        T *to = static_cast<T *>(layer(k).in_weight) + from, found[WIDE];
                        put(found, sums, n, many);
                        for (int64_t c = 0; c < many; c++) to[c] += mask ? found[c] * mask[from + c] : found[c];
                    });
                }
        }
    }
};

}  // namespace

extern "C" {

int64_t sizeof_Layer() { return sizeof(Layer); }
int64_t sizeof_Network() { return sizeof(Network); }

void pass_float32(const Network *net, const float *x, const float *added, int64_t stride, float *memory, float *answers) {
    Loops<float>{*net}.pass(x, added, stride, memory, answers);
}
void pass_float64(const Network *net, const double *x, const double *added, int64_t stride, double *memory, double *answers) {
    Loops<double>{*net}.pass(x, added, stride, memory, answers);
}
void pull_float32(const Network *net, const float *values, const float *in_answers, float *memory, float *in_x) {
    Loops<float>{*net}.pull(values, in_answers, memory, in_x);
}
void pull_float64(const Network *net, const double *values, const double *in_answers, double *memory, double *in_x) {
    Loops<double>{*net}.pull(values, in_answers, memory, in_x);
}

}  // extern "C"
