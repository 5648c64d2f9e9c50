/** `node FILE --full` runs the long form of a test that `npm test` keeps short. */
export const isFull = process.argv.includes('--full')
