/** What the goldens keep of one text: a short hash of its tokens and of their text. */
import { createHash } from 'node:crypto'

export interface Cut {
  /** Special tokens parsed, and left as text. */
  readonly parsed: readonly number[]
  readonly plain: readonly number[]
  /** Of the parsed ones. */
  readonly decoded: string
}

/** Digits of a hash: a wrong text passes once in sixteen million. */
export const hashDigits = 6

export const hashOf = (cut: Cut): string =>
  createHash('sha256')
    .update(JSON.stringify([cut.parsed, cut.plain, cut.decoded]))
    .digest('hex')
    .slice(0, hashDigits)
