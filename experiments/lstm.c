/* An LSTM and a Dense layer in float32, as somebody may port them from Keras.
 *
 *     lstm WEIGHTS INPUTS OUTPUTS STATES
 *
 * WEIGHTS and INPUTS are text: numbers with white space or commas between them. WEIGHTS has kernel (D, 4M),
 * recurrent_kernel (M, 4M), bias (4M), then Dense's kernel (M, K) and bias (K). OUTPUTS and STATES are written as
 * .csv, a line for every sample and for every step. Each of the macros GATE_ORDER, TRANSPOSED and NO_BIAS makes one
 * mistake.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static float *read_numbers(const char *path, size_t count)
{
    FILE *file = fopen(path, "r");
    float *numbers = malloc(count * sizeof *numbers);
    if (!file || !numbers)
        exit(1);
    for (size_t k = 0; k < count; k++)
        if (fscanf(file, "%f%*[, \n]", &numbers[k]) < 1)
            exit(1);
    fclose(file);
    return numbers;
}

static void write_row(FILE *file, const float *numbers, int count)
{
    for (int k = 0; k < count; k++)
        fprintf(file, "%.9g%c", numbers[k], k < count - 1 ? ',' : '\n');
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    const size_t kernel_size = D * 4 * M, recurrent_size = M * 4 * M;
    const float *kernel = read_numbers(argv[1], kernel_size + recurrent_size + 4 * M + M * K + K);
    const float *recurrent = kernel + kernel_size, *bias = recurrent + recurrent_size;
    const float *dense = bias + 4 * M, *dense_bias = dense + M * K;
    const float *x = read_numbers(argv[2], (size_t)N * T * D);
    FILE *outputs = fopen(argv[3], "w"), *states = fopen(argv[4], "w");
    if (!outputs || !states)
        return 1;
#ifdef GATE_ORDER
    const int I = 0, O = 1, F = 2, G = 3; /* ONNX has the blocks in this order */
#else
    const int I = 0, F = 1, G = 2, O = 3;
#endif
    for (int n = 0; n < N; n++) {
        float h[M] = {0}, c[M] = {0}, z[4 * M], y[K];
        for (int t = 0; t < T; t++, x += D) {
            for (int j = 0; j < 4 * M; j++) {
                z[j] = 0.0f;
#ifndef NO_BIAS
                z[j] = bias[j];
#endif
                for (int d = 0; d < D; d++)
                    z[j] += x[d] * kernel[d * 4 * M + j];
                for (int m = 0; m < M; m++)
#ifdef TRANSPOSED
                    z[j] += h[m] * recurrent[(j % M) * 4 * M + (j / M) * M + m];
#else
                    z[j] += h[m] * recurrent[m * 4 * M + j];
#endif
            }
            for (int m = 0; m < M; m++) {
                c[m] = sigmoid(z[F * M + m]) * c[m] + sigmoid(z[I * M + m]) * tanhf(z[G * M + m]);
                h[m] = sigmoid(z[O * M + m]) * tanhf(c[m]);
            }
            write_row(states, h, M);
        }
        for (int k = 0; k < K; k++) {
            y[k] = dense_bias[k];
            for (int m = 0; m < M; m++)
                y[k] += h[m] * dense[m * K + k];
        }
        write_row(outputs, y, K);
    }
    fclose(outputs);
    fclose(states);
    return 0;
}
