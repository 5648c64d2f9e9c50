/** For `npx drizzle-kit generate --config control-plane/drizzle.config.ts`: writes the next migration. */
import { defineConfig } from 'drizzle-kit'

export default defineConfig({
  dialect: 'sqlite',
  schema: './control-plane/store/*tables.ts',
  out: './control-plane/store/migrations',
})
