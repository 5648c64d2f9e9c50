/** State files whose content is checked against a schema: a damaged file is named, never half understood. */
import type { Static, TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError } from '../../shared/errors.ts'
import { readStateJson } from '../../shared/home.ts'

/** The JSON content of a file, or `undefined` when there is none. @throws MeshError `stateUnreadable` */
export const readChecked = <Schema extends TSchema>(file: string, schema: Schema): Static<Schema> | undefined => {
  const value = readStateJson(file)
  if (value === undefined) return undefined
  if (!Value.Check(schema, value)) {
    const [first] = Value.Errors(schema, value)
    const place = first?.instancePath || 'the content'
    throw new MeshError('stateUnreadable', {
      file,
      problem: `${place} ${first?.message ?? 'is not what it should be'}`,
    })
  }
  return value
}
