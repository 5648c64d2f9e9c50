/** What we use of it; the package brings no types. */
declare module 'qrcode-terminal' {
  const qrcode: {
    setErrorLevel(level: 'L' | 'M' | 'Q' | 'H'): void
    /** Calls back at once. */
    generate(text: string, options: { readonly small: boolean }, done: (code: string) => void): void
  }
  export default qrcode
}
