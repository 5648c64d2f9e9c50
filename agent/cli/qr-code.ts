/** A QR code in the terminal, so that a line need not be typed. */
import qrcode from 'qrcode-terminal'

/** Two rows of the code in each line of text; dark on light whatever the colours of the terminal are. */
export const qrCode = (text: string): string => {
  let drawn = ''
  qrcode.setErrorLevel('L') // a screen is never dirty, and a small code fits more windows
  qrcode.generate(text, { small: true }, (code) => (drawn = code))
  return `${drawn}\n`
}
