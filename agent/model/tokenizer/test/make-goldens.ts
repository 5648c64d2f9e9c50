/**
 * Makes `goldens.json` with Hugging Face's own native tokenizers. They are no dependency of the project (64 MB), so:
 *
 *   npm install --no-save --ignore-scripts tokenizers@0.23.2
 *   node agent/model/tokenizer/test/make-goldens.ts
 */
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { families, hardTexts } from './families.ts'
import { hashOf } from './golden-hash.ts'

interface Native {
  encode(text: string): Promise<{ getIds(): number[] }>
  decode(ids: readonly number[], skipSpecial: boolean): Promise<string>
}

const require = createRequire(import.meta.url)
const { Tokenizer } = require('tokenizers') as { Tokenizer: { fromString(json: string): Native } }

type Named = object & { readonly content?: string; readonly special?: boolean }

/** The same tokenizer, whose special tokens have names that no text holds. */
const withoutSpecial = (json: (typeof families)[string]): object => {
  const special = (json.added_tokens as readonly Named[])
    .filter((token) => token.special)
    .map(({ content }) => content as string)
  const hidden = (name: string): string =>
    special.includes(name) ? String.fromCodePoint(0x10ff00 + special.indexOf(name)) : name
  const { vocab, unk_token: unknown } = json.model
  const model = {
    ...json.model,
    ...(typeof unknown === 'string' ? { unk_token: hidden(unknown) } : {}),
    vocab: Array.isArray(vocab)
      ? (vocab as [string, number][]).map(([name, score]) => [hidden(name), score])
      : Object.fromEntries(Object.entries(vocab as object).map(([name, id]) => [hidden(name), id as number])),
  }
  return {
    ...json,
    model,
    added_tokens: (json.added_tokens as readonly Named[]).map((token) => ({
      ...token,
      content: hidden(token.content as string),
    })),
  }
}

const goldens: Record<string, string> = {}
for (const [name, json] of Object.entries(families)) {
  const [native, plain] = [json, withoutSpecial(json)].map((one) => Tokenizer.fromString(JSON.stringify(one)))
  const hashes: string[] = []
  for (const text of hardTexts) {
    const parsed = (await native.encode(text)).getIds()
    hashes.push(
      hashOf({ parsed, plain: (await plain.encode(text)).getIds(), decoded: await native.decode(parsed, true) }),
    )
  }
  goldens[name] = hashes.join('')
}
writeFileSync(
  new URL('./goldens.json', import.meta.url),
  `${JSON.stringify({ made_by: 'make-goldens.ts with tokenizers 0.23.2', hashes: goldens }, undefined, 1)}\n`,
)
