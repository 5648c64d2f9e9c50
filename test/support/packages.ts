/** The packages that are installed, as the lock file names them: their licences, and those that would run scripts. */
import { readFileSync } from 'node:fs'

interface Entry {
  readonly version: string
  readonly license?: string
  readonly integrity?: string
  readonly hasInstallScript?: boolean
  readonly dev?: boolean
  readonly optional?: boolean
}

export interface Package extends Entry {
  readonly name: string
  /** As the lock file has it, or as it was looked up. */
  readonly licence: string
}

/** Licences that ask for a notice and no more: MIT-like ones, in SPDX terms. A choice of two needs one of them. */
export const allowedLicences = [
  'MIT',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'CC0-1.0',
  'Unlicense',
  'Python-2.0',
  'Zlib',
] as const

/** Packages whose manifest names the licence in a field that npm no longer reads, with what it says there. */
const lookedUp: Readonly<Record<string, string>> = { 'qrcode-terminal': 'Apache-2.0' }

/** Packages with an install script, and why it is not run (or is). */
export const installScripts: Readonly<Record<string, string>> = {
  node: 'the one that is run: it takes the binary for this machine from another package of the registry',
  'cbor-extract': 'it would compile or fetch a faster decoder; cbor-x does without',
  'onnxruntime-node': 'it would fetch libraries for CUDA; those for the processor are in the package',
  koffi: 'it would compile what the package brings prebuilt',
  esbuild: 'it checks a binary that is used for migrations only, by developers',
}

export const readPackages = (lockFile: string): Package[] => {
  const { packages } = JSON.parse(readFileSync(lockFile, 'utf8')) as { packages: Record<string, Entry> }
  return Object.entries(packages)
    .filter(([path]) => path !== '')
    .map(([path, entry]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
      return { ...entry, name, licence: entry.license ?? lookedUp[name] ?? '' }
    })
}

/** True when one of the licences that may be chosen is allowed, or all of those that hold together. */
export const isAllowed = (licence: string): boolean => {
  const known = (text: string): boolean => (allowedLicences as readonly string[]).includes(text.trim())
  return licence
    .replaceAll(/[()]/g, '')
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every(known))
}

/** Every package once for each version: what `docs/packages.md` lists. */
export const packageTable = (packages: readonly Package[]): string => {
  const kind = ({ dev, optional }: Package): string =>
    dev ? 'development' : optional ? 'where there is one for the machine' : ''
  const rows = packages.map((one) => `| ${one.name} | ${one.version} | ${one.licence} | ${kind(one)} |`)
  return ['| package | version | licence | only |', '| --- | --- | --- | --- |', ...new Set(rows.toSorted())].join('\n')
}

export const scriptTable = (): string =>
  [
    '| package | its install script |',
    '| --- | --- |',
    ...Object.entries(installScripts).map(([name, why]) => `| ${name} | ${why} |`),
  ].join('\n')
