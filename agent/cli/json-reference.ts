/** The pages of `docs/json`: what each command prints with `--json`, as JSON Schema, and what they have in common. */
import { exitCodes } from '../../shared/errors.ts'
import { printedSchema } from '../../shared/printed.ts'
import { ErrorAnswer } from '../../shared/schema/common.ts'
import type { Command } from './command.ts'

const dialect = 'https://json-schema.org/draft/2020-12/schema'

const page = (title: string, description: string, schema: object): string =>
  `${JSON.stringify({ $schema: dialect, title, description, ...schema }, null, 2)}\n`

const schemaFile = (name: string): string => `${name}.schema.json`

const introduction = `# What \`--json\` prints

Written by \`npm run docs\` from what each command declares.

- Every command has \`--json\`. It then prints one JSON value on standard output and nothing else there: its answer, or, when it fails, one object \`{"error": {"code", "message", "hint", "fields"}}\` ([schema](${schemaFile('error')})). The exit code tells which: ${exitCodes.ok} with an answer (\`mesh status\` answers with ${exitCodes.setup} where no agent runs). The codes are those of [ERRORS.md](../../shared/ERRORS.md).
- Standard error is for people, with \`--json\` too: notes, progress and the two lines of a failure.
- Services (marked below) print their answer in one line as soon as they serve, and go on.
- Names are snake_case. Every name of a schema is there, with \`null\` where there is nothing. The schemas are those of this version; a later one may add names.
- A name ends with its unit: \`_bytes\`, \`_ms\`. Times are milliseconds since 1970-01-01 UTC.

| command | schema |
| --- | --- |
`

/** Name and text of every file of the folder. */
export const jsonPages = (commands: readonly Command[]): ReadonlyMap<string, string> =>
  new Map([
    ...commands.map(({ name, summary, json }): [string, string] => [
      schemaFile(name),
      page(`mesh ${name} --json`, summary, printedSchema(json)),
    ]),
    [
      schemaFile('error'),
      page('a command that fails with --json', 'what went wrong and what to do', printedSchema(ErrorAnswer)),
    ],
    [
      'README.md',
      introduction +
        commands
          .map(
            ({ name, service }) =>
              `| \`mesh ${name}\`${service ? ' (service)' : ''} | [${schemaFile(name)}](${schemaFile(name)}) |\n`,
          )
          .join(''),
    ],
  ])
