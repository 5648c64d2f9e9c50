/** Names of GGUF files: models that were split are `NAME-00001-of-0000N.gguf`. */
import { basename, dirname, join } from 'node:path'
import { damagedFile } from '../tensor-file.ts'

/** By its name, whatever is in it. */
export const isGguf = (path: string): boolean => path.toLowerCase().endsWith('.gguf')

const partName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/
/** Parts; as many as five digits would allow are never made. */
const mostParts = 1000

/** A number as names of parts have it. */
export const fiveDigits = (number: number): string => String(number).padStart(5, '0')

/** Paths of all parts of the file that is named, in order; itself alone where its name says nothing of parts. */
export const ggufParts = (path: string): string[] => {
  const match = partName.exec(basename(path))
  if (!match) return [path]
  const [, name, , count] = match
  if (Number(count) > mostParts || Number(count) === 0)
    throw damagedFile(path, `its name speaks of ${Number(count)} parts, 1 to ${mostParts} may be`)
  return Array.from({ length: Number(count) }, (_, index) =>
    join(dirname(path), `${name}-${fiveDigits(index + 1)}-of-${count}.gguf`),
  )
}
