// What the kernels of elementwise moves share: a tile of elements after the other, and the functions that Python calls.

#pragma once

#include "vectors.h"

namespace {

// An element's raw parameters lie `stride` after those of the one before.
#define MOVE_FIELDS int64_t elements, stride, threads

// each(tile, first, count) for all tiles of elements, which have been read. `ENOUGH` elements are worth another thread.
template <class Tile, class T, class Struct, class Each>
void tiles(const Struct &of, int64_t ENOUGH, const T *x, const T *raw, const Each &each) {
#pragma omp parallel num_threads(std::min<int64_t>(of.threads, 1 + of.elements / ENOUGH))
    {
        Tile tile(of);
#pragma omp for schedule(static)
        for (int64_t first = 0; first < of.elements; first += Tile::LANES) {
            const int64_t count = std::min(Tile::LANES, of.elements - first);
            tile.read(x + first, raw + first * of.stride, of.stride, count);
            each(tile, first, count);
        }
    }
}

// Values y and log-slopes.
template <class Tile, class T, class Struct>
void move(const Struct &of, int64_t enough, const T *x, const T *raw, T *y, T *log_slopes) {
    tiles<Tile>(of, enough, x, raw, [&](const Tile &tile, int64_t first, int64_t count) {
        typename Tile::V to, log;
        tile.answer(to, log);
        Tile::store(y + first, to, count);
        Tile::store(log_slopes + first, log, count);
    });
}

// Gradients of in_y · y + in_log · log-slopes: in x, (element), and in the raw parameters, (element, raw).
template <class Tile, class T, class Struct>
void pull(const Struct &of, int64_t enough, const T *x, const T *raw, const T *in_y, const T *in_log, T *in_x, T *in_raw) {
    tiles<Tile>(of, enough, x, raw, [&](Tile &tile, int64_t first, int64_t count) {
        const auto in = tile.pull(Tile::load(in_y + first, count), Tile::load(in_log + first, count));
        Tile::store(in_x + first, in, count);
        tile.store_raw(in_raw + first * tile.raws(), count);
    });
}

}  // namespace

#define MOVE_FUNCTIONS(T, NAME)                                                                                        \
    extern "C" void move_##NAME(const Struct *of, const T *x, const T *raw, T *y, T *log_slopes) {                     \
        move<Tile<T>>(*of, ENOUGH, x, raw, y, log_slopes);                                                             \
    }                                                                                                                  \
    extern "C" void pull_##NAME(const Struct *of, const T *x, const T *raw, const T *in_y, const T *in_log, T *in_x,   \
                                T *in_raw) {                                                                           \
        pull<Tile<T>>(*of, ENOUGH, x, raw, in_y, in_log, in_x, in_raw);                                                \
    }
