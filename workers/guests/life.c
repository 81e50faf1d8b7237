/* A real program: Conway's game of life on a board from malloc, so that memory grows with the arguments. The board is a
 * torus: what leaves it on one side comes back on the other.
 *
 *   wasmq run workers/guests/life.wasm life 64 64 100 1     -> the cells alive after 100 generations
 *
 * `make -C workers/guests` compiles it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned char cell; /* 0 dead, 1 alive */

/* Marsaglia's xorshift, 32 bits, shifts 13, 17 and 5. Its state is never 0. */
static uint32_t next_random(uint32_t *state) {
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* Bring about a third of the cells to life. */
static void sow(cell *board, size_t cells, uint32_t seed) {
    uint32_t state = seed ? seed : 1;
    memset(board, 0, cells);
    for (size_t i = 0; i < cells; i++)
        if (next_random(&state) % 3 == 0)
            board[i] = 1;
}

static void step(const cell *now, cell *then, size_t width, size_t height) {
    for (size_t y = 0; y < height; y++) {
        const cell *here = now + y * width;
        const cell *above = now + (y ? y - 1 : height - 1) * width;
        const cell *below = now + (y + 1 < height ? y + 1 : 0) * width;
        for (size_t x = 0; x < width; x++) {
            size_t left = x ? x - 1 : width - 1;
            size_t right = x + 1 < width ? x + 1 : 0;
            int neighbours = above[left] + above[x] + above[right] + here[left] + here[right] + below[left] + below[x] +
                             below[right];
            then[y * width + x] = neighbours == 3 || (neighbours == 2 && here[x]);
        }
    }
}

/* Return the population after so many generations, -1 when a side of the board is not positive, the number of
 * generations is negative, or there is no memory for two boards.
 */
__attribute__((export_name("life"))) int life(int width, int height, int generations, int seed) {
    if (width < 1 || height < 1 || generations < 0 || width > INT32_MAX / height)
        return -1;
    size_t cells = (size_t)width * (size_t)height;
    cell *now = malloc(cells);
    cell *then = malloc(cells);
    int population = -1;
    if (now && then) {
        sow(now, cells, (uint32_t)seed);
        for (int i = 0; i < generations; i++) {
            step(now, then, (size_t)width, (size_t)height);
            cell *swapped = now;
            now = then;
            then = swapped;
        }
        population = 0;
        for (size_t i = 0; i < cells; i++)
            population += now[i];
    }
    free(now);
    free(then);
    return population;
}
