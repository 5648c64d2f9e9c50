/** ggml comes for Linux on x64 so far: there every test of it runs, elsewhere none. */
export const ggmlComes = process.platform === 'linux' && process.arch === 'x64'
