/** Which files of a repository a model needs: those that describe it and its weights, or one GGUF model. */
import { basename } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import { describingFiles, indexFile } from '../model/model-file.ts'
import { ggufParts, isGguf } from '../model/gguf/name.ts'
import type { Repository } from './hub.ts'
import type { HubFile } from './library.ts'

export interface ChosenFiles {
  readonly format: 'safetensors' | 'gguf'
  readonly files: readonly HubFile[]
  /** Of a GGUF file: what stands behind the name of the repository. */
  readonly tag?: string
}

const safeName = /^[A-Za-z0-9][A-Za-z0-9._+-]*$/
const isSafe = ({ path }: HubFile): boolean => path.split('/').every((part) => safeName.test(part))

const ggufOf = (files: readonly HubFile[], { repo }: Repository, wanted: string | undefined): ChosenFiles => {
  const models = new Map<string, HubFile[]>()
  for (const file of files.filter(({ path }) => isGguf(path) && !/mmproj/i.test(path))) {
    const [first] = ggufParts(file.path)
    models.set(first, [...(models.get(first) ?? []), file])
  }
  const names = [...models.keys()]
  const found = wanted === undefined ? names : names.filter((name) => name === wanted || basename(name) === wanted)
  const meant =
    wanted === undefined || found.length > 0
      ? found
      : names.filter((name) => name.toLowerCase().includes(wanted.toLowerCase()))
  if (meant.length !== 1)
    throw new MeshError('hubFilesSeveral', {
      repo,
      problem: meant.length === 0 ? `no model ${wanted ?? ''}`.trimEnd() : 'several models',
      files: (meant.length === 0 ? names : meant).slice(0, 20).join(', ') || 'none',
    })
  const parts = models.get(meant[0]) ?? []
  const missing = ggufParts(meant[0]).find((part) => !parts.some(({ path }) => path === part))
  if (missing !== undefined)
    throw new MeshError('hubFilesSeveral', {
      repo,
      problem: `no file ${missing}, a part of its model`,
      files: meant[0],
    })
  const tag = basename(meant[0]).replace(/(-\d{5}-of-\d{5})?\.gguf$/i, '')
  return { format: 'gguf', files: parts, tag }
}

/**
 * @param wanted a .gguf file, or what its name says: `Q4_K_M`
 * @throws MeshError `hubFilesSeveral`
 */
export const chooseFiles = (repository: Repository, wanted: string | undefined): ChosenFiles => {
  const files = repository.files.filter(isSafe)
  const named = new Set(files.map(({ path }) => path))
  const whole = named.has('model.safetensors')
  const isWeights = (path: string): boolean =>
    whole ? path === 'model.safetensors' : /^model.*\.safetensors$/.test(path) || path === indexFile
  const weights = files.filter(({ path }) => isWeights(path))
  if (wanted !== undefined || weights.length === 0) return ggufOf(files, repository, wanted)
  const describing = files.filter(({ path }) => describingFiles.some((name) => name === path))
  return { format: 'safetensors', files: [...describing, ...weights] }
}
