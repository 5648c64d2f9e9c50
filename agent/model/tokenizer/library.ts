/**
 * The parts of `@huggingface/tokenizers` that are used, with their types: its own declarations name their files in a
 * way that TypeScript does not follow here.
 */
import * as library from '@huggingface/tokenizers'

interface Parts {
  readonly BPE: new (config: object) => { bpe(word: string): readonly string[] }
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null }
}

export const { BPE, SplitPreTokenizer } = library as unknown as Parts
