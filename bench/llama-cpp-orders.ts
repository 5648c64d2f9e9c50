/** What the process of llama.cpp is told to do, and what it answers. */

export interface LlamaCppStart {
  readonly file: string
  readonly threads: number
  /** Tokens of the longest prompt with what is written behind it. */
  readonly context: number
}

export type LlamaCppOrder =
  | { readonly type: 'prompt'; readonly promptTokens: number; readonly tokens: number }
  | {
      readonly type: 'batch'
      readonly sequences: number
      /** Of each sequence. */
      readonly promptTokens: number
      /** Steps. */
      readonly tokens: number
    }
  | { readonly type: 'measure' }
  | { readonly type: 'stop' }

export interface LlamaCppRun {
  readonly prefillTokensPerSecond: number
  readonly decodeTokensPerSecond: number
}

export interface LlamaCppBatch {
  /** Milliseconds of all decode steps. */
  readonly decodeMs: number
}
