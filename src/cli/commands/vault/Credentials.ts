/**
 * What the commands on sealed credentials share: their store, their purpose flag and their names.
 */
import { Effect, Layer } from "effect"
import { Argument, Flag } from "effect/cli"
import { CAPABILITY_PURPOSE } from "../../../layers/NodeCredentials.ts"
import * as SqliteCredentialStore from "../../../layers/store/SqliteCredentialStore.ts"
import { Home } from "../../Home.ts"

/** The credentials of the home. */
export const layerCredentials = Layer.unwrap(
  Effect.gen(function* () {
    const home = yield* Home
    yield* home.prepare
    return SqliteCredentialStore.layer(home.credentials)
  })
)

export const nameArgument = Argument.String("name").pipe(Argument.withDescription("What the credential is called"))

export const purposeFlag = Flag.String("purpose").pipe(
  Flag.withDefault(CAPABILITY_PURPOSE),
  Flag.withDescription("What it is for; operations of this node may use those of purpose credential")
)
