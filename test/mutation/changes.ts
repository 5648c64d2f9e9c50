/**
 * Changes of one operator that a test should notice, found in the syntax tree: nothing in types, imports, comments and
 * texts is touched.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { API } from 'typescript/unstable/sync'
import {
  isAwaitExpression,
  isBinaryExpression,
  isExpressionStatement,
  isImportDeclaration,
  isNumericLiteral,
  isPrefixUnaryExpression,
  isPropertyAccessExpression,
  isThrowStatement,
  isTypeNode,
  SyntaxKind,
  type BinaryExpression,
  type Node,
  type SourceFile,
} from 'typescript/unstable/ast'

/** One edit of a file: `source.slice(0, start) + text + source.slice(end)`. */
export interface Edit {
  readonly start: number
  readonly end: number
  readonly text: string
}

export interface Change extends Edit {
  /** Line of the file, from 1. */
  readonly line: number
  /** That line without the space around it, before and after. */
  readonly from: string
  readonly to: string
}

const swaps: Readonly<Record<string, string>> = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '===': '!==',
  '!==': '===',
  '&&': '||',
  '||': '&&',
  '??': '&&',
  '+': '-',
  '-': '+',
  '*': '/',
  '/': '*',
  '%': '*',
  '+=': '-=',
  '-=': '+=',
  '&': '|',
  '|': '&',
  '<<': '>>>',
  '>>': '<<',
  '>>>': '<<',
}

const memberSwaps: ReadonlyMap<string, string> = new Map([
  ['Math.min', 'max'],
  ['Math.max', 'min'],
  ['Math.ceil', 'floor'],
  ['Math.floor', 'ceil'],
  ['some', 'every'],
  ['every', 'some'],
])

/**
 * `a ?? b && c` and the like are no JavaScript: the new operator would stand beside one that it may not be mixed with.
 */
const staysJavaScript = (node: BinaryExpression, from: string, to: string): boolean => {
  const near = [node.left, node.right, node.parent].filter((other) => isBinaryExpression(other))
  const operators = near.map((other) => other.operatorToken.kind)
  const mixes = operators.includes(SyntaxKind.QuestionQuestionToken)
  return !mixes || (from !== '??' && to !== '&&' && to !== '||')
}

const ofBinary = (node: BinaryExpression, file: SourceFile): Edit[] => {
  const { operatorToken: operator, right } = node
  const [start, end] = [operator.getStart(file), operator.end]
  const from = file.text.slice(start, end)
  const edits: Edit[] = []
  const to = swaps[from]
  if (to !== undefined && staysJavaScript(node, from, to)) edits.push({ start, end, text: to })
  const isOne = isNumericLiteral(right) && right.text === '1'
  if (isOne && (from === '+' || from === '-')) edits.push({ start: node.left.end, end: right.end, text: '' })
  return edits
}

const ofMember = (node: Node, file: SourceFile): Edit[] => {
  if (!isPropertyAccessExpression(node)) return []
  const [start, end] = [node.name.getStart(file), node.name.end]
  const name = file.text.slice(start, end)
  const text = memberSwaps.get(`${file.text.slice(node.expression.getStart(file), node.expression.end)}.${name}`)
  const found = text ?? memberSwaps.get(name)
  return found === undefined ? [] : [{ start, end, text: found }]
}

const editsOf = (node: Node, file: SourceFile): Edit[] => {
  const start = node.getStart(file)
  if (isBinaryExpression(node)) return ofBinary(node, file)
  if (isPropertyAccessExpression(node)) return ofMember(node, file)
  if (isThrowStatement(node)) return [{ start, end: node.end, text: ';' }]
  if (isPrefixUnaryExpression(node)) {
    const isSign = [SyntaxKind.ExclamationToken, SyntaxKind.MinusToken].includes(node.operator)
    return isSign ? [{ start, end: node.operand.getStart(file), text: '' }] : []
  }
  if (isExpressionStatement(node) && isAwaitExpression(node.expression))
    return [{ start, end: node.expression.expression.getStart(file), text: 'void ' }]
  if (node.kind === SyntaxKind.TrueKeyword) return [{ start, end: node.end, text: 'false' }]
  if (node.kind === SyntaxKind.FalseKeyword) return [{ start, end: node.end, text: 'true' }]
  return []
}

const lineAt = (text: string, at: number): number => text.slice(0, at).split('\n').length

/** The file after the edit. */
export const applied = (source: string, { start, end, text }: Edit): string =>
  source.slice(0, start) + text + source.slice(end)

const asChange = (source: string, edit: Edit): Change => {
  const line = lineAt(source, edit.start)
  const lineOf = (text: string): string => text.split('\n')[line - 1].trim()
  return { ...edit, line, from: lineOf(source), to: lineOf(applied(source, edit)) }
}

const changesOf = (file: SourceFile): Change[] => {
  const edits: Edit[] = []
  const visit = (node: Node): undefined => {
    if (isTypeNode(node) || isImportDeclaration(node)) return
    edits.push(...editsOf(node, file))
    node.forEachChild(visit)
  }
  visit(file)
  return edits.map((edit) => asChange(file.text, edit))
}

/** Every change of each of these files. @param paths absolute */
export const findChanges = (root: string, paths: readonly string[]): ReadonlyMap<string, readonly Change[]> => {
  const api = new API({ cwd: root })
  try {
    const snapshot = api.updateSnapshot({ openFiles: [...paths] })
    return new Map(
      paths.map((path) => {
        const file = snapshot.getDefaultProjectForFile(path)?.program.getSourceFile(path)
        if (file === undefined) throw new Error(`${path} cannot be parsed`)
        if (file.text !== readFileSync(path, 'utf8')) throw new Error(`${path} changed while it was read`)
        return [path, changesOf(file)]
      }),
    )
  } finally {
    api.close()
  }
}

/**
 * Some of the changes of a file, by lot: the same for the same seed, and nearly the same when other lines of the file
 * change.
 */
export const drawChanges = (changes: readonly Change[], count: number, seed: string): Change[] => {
  const lot = (change: Change): string =>
    createHash('sha256').update([seed, change.from, change.to, change.text].join('\n')).digest('hex')
  return changes
    .map((change) => ({ change, lot: lot(change) }))
    .toSorted((a, b) => (a.lot < b.lot ? -1 : a.lot > b.lot ? 1 : a.change.start - b.change.start))
    .slice(0, count)
    .map(({ change }) => change)
    .toSorted((a, b) => a.start - b.start)
}
