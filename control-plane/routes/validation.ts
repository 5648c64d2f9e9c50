/** Checks what a request carries by the schema of its route. */
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Value } from 'typebox/value'
import { MeshError } from '../../shared/errors.ts'

export const compileValidator = ({
  schema,
  httpPart,
}: {
  schema: unknown
  httpPart?: string
}): ((value: unknown) => { value: unknown } | { error: Error }) => {
  const check = Compile(schema as TSchema)
  return (value) => {
    // numbers in a query arrive as text
    const content = httpPart === 'querystring' ? Value.Convert(schema as TSchema, value) : value
    if (check.Check(content)) return { value: content }
    const [first] = check.Errors(content)
    const place = `${httpPart ?? 'request'}${first?.instancePath ?? ''}`
    return { error: new MeshError('requestInvalid', { problem: `${place} ${first?.message ?? 'is malformed'}` }) }
  }
}
