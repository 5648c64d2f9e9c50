/** What a route handler gets and gives, derived from the route table. */
import type { AnswerOf, BodyOf, ParamsOf, QueryOf, RouteName } from '../../shared/api/routes.ts'
import type { Caller } from './access.ts'

export interface Call<Name extends RouteName> {
  readonly caller: Caller
  readonly params: ParamsOf<Name>
  readonly query: QueryOf<Name>
  readonly body: BodyOf<Name>
}

/** Routes that answer by a stream are served in `app.ts`. */
export type StreamRoute = 'agentSocket' | 'jobEvents'
export type AnswerRoute = Exclude<RouteName, StreamRoute>

export type Handlers = { readonly [Name in AnswerRoute]: (call: Call<Name>) => AnswerOf<Name> }
