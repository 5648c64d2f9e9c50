/** What the control plane is told of an answer while it comes: plainly, or sealed for who asked. */
import type { FinishReason } from '../../shared/schema/job.ts'
import { createAnswerSealer } from '../../shared/sealed/sealed-answer.ts'

export interface Told {
  readonly text: string
  readonly tokens: number[]
}

export interface Answer extends Omit<Told, 'tokens'> {
  readonly tokens: readonly number[]
  readonly finishReason: FinishReason
}

export interface ToldAnswer {
  /** A token, and what it adds to the text. */
  token(token: number, text: string): Told
  /** The whole answer, so that nothing depends on every token having arrived. */
  whole(answer: Answer): Told
}

export const plainAnswer: ToldAnswer = {
  token: (token, text) => ({ tokens: [token], text }),
  whole: ({ text, tokens }) => ({ text, tokens: [...tokens] }),
}

/** Tokens are told as zeros: how many there are is for all who settle the job, which ones is not. */
export const sealedAnswer = (secret: Uint8Array): ToldAnswer => {
  const sealer = createAnswerSealer(secret)
  let sealed = ''
  let [count, length] = [0, 0]
  return {
    token: (token, text) => {
      const piece = sealer.piece({ tokens: [token], text })
      sealed += piece
      count++
      length += text.length
      return { tokens: [0], text: piece }
    },
    whole: ({ text, tokens, finishReason }) => {
      sealed += sealer.piece({
        tokens: tokens.slice(count),
        text: text.slice(length),
        end: { finishReason, tokens: tokens.length },
      })
      return { text: sealed, tokens: tokens.map(() => 0) }
    },
  }
}
