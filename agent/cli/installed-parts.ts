/** What of Mesh is on this machine: all of it, unless somebody installed a part alone (`tools/parts.mjs`). */
import { fileURLToPath } from 'node:url'
import manifest from '../../package.json' with { type: 'json' }
import { MeshError } from '../../shared/errors.ts'

/** `agent`: what computes. */
export type Part = 'agent' | 'relay' | 'control-plane'

const keptAlone = (manifest.config as { readonly only?: readonly string[] }).only

/** What installs these parts, or all of Mesh, as this copy was installed. */
const installLine = (parts: readonly string[]): string => {
  const alone = parts.includes('agent') ? undefined : parts.join(',')
  const isPackage = /[\\/]node_modules[\\/]meshnet[\\/]/.test(fileURLToPath(import.meta.url))
  if (isPackage) return `${alone ? `MESHNET_ONLY=${alone} ` : ''}npm install --global ./meshnet-*.tgz`
  return `./install.sh${alone ? ` --only ${alone}` : ''}`
}

/**
 * @param command as it is typed
 * @param needs parts that it runs
 * @param kept parts that are here alone; `undefined`: all are
 * @throws MeshError `partMissing`
 */
export const checkParts = (
  command: string,
  needs: readonly Part[],
  kept: readonly string[] | undefined = keptAlone,
): void => {
  const missing = kept === undefined ? [] : needs.filter((part) => !kept.includes(part))
  if (kept === undefined || missing.length === 0) return
  throw new MeshError('partMissing', {
    command,
    missing: missing.join(' and '),
    kept: kept.join(' and '),
    install: installLine([...kept, ...missing]),
  })
}
