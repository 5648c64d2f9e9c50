/** Building blocks of all schemas. One declaration gives the JSON Schema (Fastify, OpenAPI) and the static type. */
import { Type } from 'typebox'
import { modelIdPattern } from '../ids.ts'
import { namePattern } from '../text.ts'
import { limits } from '../limits.ts'

export const Hex64 = Type.String({ pattern: '^[0-9a-f]{64}$', description: '64 lower-case hex digits' })
/** A name that somebody gives: see `text.ts`. */
export const GivenName = Type.String({ minLength: 1, maxLength: limits.nameLength, pattern: namePattern })
/** A name that was given, also by an older version: cleaned where it is shown. */
export const Name = Type.String({ minLength: 1, maxLength: limits.nameLength, pattern: '^[^\\u0000-\\u001f\\u007f]+$' })
export const ModelId = Type.String({
  minLength: 1,
  maxLength: limits.modelIdLength,
  pattern: modelIdPattern.source,
  description: 'name, owner/name or either with :tag',
})
/** Text that programs give each other: addresses, versions, names of parts. ASCII without controls. */
export const machineText = (maxLength: number): Type.TString => Type.String({ maxLength, pattern: '^[\\x20-\\x7e]*$' })
export const Time = Type.Integer({ minimum: 0, description: 'milliseconds since 1970-01-01 UTC' })
export const Count = Type.Integer({ minimum: 0 })
/** Half-open range of columns or heads. */
export const Range = Type.Object({ start: Count, end: Count }, { additionalProperties: false })
export type Range = Type.Static<typeof Range>

export const ErrorReportSchema = Type.Object({
  code: Type.String({ maxLength: 100 }),
  message: Type.String({ maxLength: 4000 }),
  hint: Type.Optional(Type.String({ maxLength: 4000 })),
  fields: Type.Optional(
    Type.Record(Type.String({ maxLength: 100 }), Type.Union([Type.String({ maxLength: 4000 }), Type.Number()]), {
      maxProperties: 32,
    }),
  ),
})
export type ErrorReportJson = Type.Static<typeof ErrorReportSchema>

/**
 * How every failure is told: the body of an HTTP answer that is not 2xx, and what a command that fails prints with
 * `--json`.
 */
export const ErrorAnswer = Type.Object({ error: ErrorReportSchema })
