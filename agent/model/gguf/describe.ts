/** What a GGUF file says of its model beside its weights, as one hash: how it is split into files changes nothing. */
import { createHash } from 'node:crypto'
import { GgufList, type GgufMetadata, type GgufScalar } from './metadata.ts'

/** They say how tensors lie in files, and not what is in them. */
const aboutFiles = /^(split\..*|general\.alignment)$/

const listed = (value: GgufScalar): string => {
  const text = String(value)
  return `${typeof value} ${text.length} ${text}`
}

/** SHA-256, hexadecimal. */
export const metadataDigest = (metadata: GgufMetadata): string => {
  const hash = createHash('sha256')
  for (const key of metadata.keys().toSorted()) {
    if (aboutFiles.test(key)) continue
    const value = metadata.get(key)
    if (!(value instanceof GgufList)) {
      hash.update(`${listed(key)} ${listed(value as GgufScalar)}\n`)
      continue
    }
    hash.update(`${listed(key)} list of ${value.type} ${value.length}\n`)
    let lines: string[] = []
    for (const element of value) {
      lines.push(listed(element))
      if (lines.length === 4096) {
        hash.update(`${lines.join('\n')}\n`)
        lines = []
      }
    }
    hash.update(`${lines.join('\n')}\n`)
  }
  return hash.digest('hex')
}
