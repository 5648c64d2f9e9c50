import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const pages = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], { cwd: root, encoding: 'utf8' })
  .trim()
  .split('\n')

/** The anchor of a heading, as forges make it. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-')

/** What the links of a page lead to, besides other sites. */
const targetsIn = (text: string): string[] =>
  [...text.replaceAll(/```[^]*?```|`[^`\n]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target)
    .filter((target) => !/^[a-z]+:/.test(target))

describe('documents', () => {
  it('every link leads to a file, and to a heading in it', () => {
    for (const page of pages)
      for (const target of targetsIn(readFileSync(join(root, page), 'utf8'))) {
        const [path, anchor] = target.split('#')
        const file = path === '' ? join(root, page) : join(root, dirname(page), path)
        assert.ok(existsSync(file), `${page} links to ${target}`)
        if (anchor === undefined || !file.endsWith('.md')) continue
        const anchors = readFileSync(file, 'utf8')
          .split('\n')
          .filter((line) => line.startsWith('#'))
          .map((line) => anchorOf(line.replace(/^#+ /, '')))
        assert.ok(anchors.includes(anchor), `${page} links to ${target}`)
      }
  })

  it('every decision is in the index, under its title', () => {
    const folder = 'docs/decisions'
    const index = readFileSync(join(root, folder, 'README.md'), 'utf8')
    for (const page of pages.filter((name) => name.startsWith(`${folder}/`) && !name.endsWith('README.md'))) {
      const [, number, title] = /^# (\d+)\. (.+)\n/.exec(readFileSync(join(root, page), 'utf8')) ?? []
      assert.match(page, new RegExp(`/0*${number}-[a-z0-9-]+\\.md$`))
      assert.ok(index.includes(`- [${title}](${page.slice(folder.length + 1)})`), page)
    }
  })
})
