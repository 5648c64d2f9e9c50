import { Type } from 'typebox'
import { resolve } from 'node:path'
import { MeshError } from '../../../shared/errors.ts'
import { writeState } from '../../../shared/home.ts'
import { exportKey } from '../../../shared/identity/key-export.ts'
import { shortId } from '../../../shared/ids.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { readPassphrase } from '../passphrase.ts'

export const poolExportKey = defineCommand({
  name: 'pool-export-key',
  summary: 'write the root key of a pool, encrypted with a passphrase, to keep it elsewhere',
  details:
    'Whoever has the file and the passphrase owns the pool. Without a copy, ' +
    'a pool whose maker lost its device can name no new admin.',
  options: ['file', 'passphraseFile', 'poolId', 'json'],
  required: ['file'],
  examples: ['mesh pool-export-key --file home-pool.key'],
  json: Type.Object({ poolId: Hex64, name: Name, file: Type.String() }),
  run: async (context, values) => {
    const pool = selectPool(context.home, values.poolId)
    if (pool.rootKey === undefined)
      throw new MeshError('notAdmin', { poolId: `${shortId(pool.poolId)}, with its root key,` })
    const passphrase = await readPassphrase(context, values.passphraseFile, { twice: true })
    const file = resolve(values.file)
    writeState(file, `${exportKey({ key: pool.rootKey, name: pool.name }, passphrase)}\n`, 0o600)
    if (values.json) context.printJson({ ...pool, file })
    else context.stderr.write(`wrote the root key of pool ${pool.name} to ${file}; mesh pool-import-key reads it\n`)
  },
})
