/** The table of families in words, for the documentation. */
import { families } from './families.ts'

const code = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(', ')

/** Rows of Markdown. */
export const familyTable = (): string =>
  [
    '| family | models | `architectures` in config.json | `general.architecture` in GGUF |',
    '| --- | --- | --- | --- |',
    ...families.map(
      ({ name, models, classes, wrappers = [], gguf }) =>
        `| ${name} | ${models} | ${code([...classes, ...wrappers])} | ${gguf ? code([gguf.architecture]) : '-'} |`,
    ),
  ].join('\n')
