/**
 * The running process of this home, where there is one.
 */
import { Effect, Layer, Option } from "effect"
import { layerControl } from "../layers/ControlClient.ts"
import { Control } from "../services/Control.ts"
import { Home } from "./Home.ts"

/** Its control. */
export const layerRunning = Layer.unwrap(Effect.map(Home, (home) => layerControl(home.controlSocket)))

/** What it reports; none where nothing runs. */
export const runningReport = Effect.gen(function* () {
  const control = yield* Control
  return yield* control.report.pipe(
    Effect.map(Option.some),
    Effect.catchIf(
      (error) => error.reason === "NotRunning",
      () => Effect.succeed(Option.none())
    )
  )
}).pipe(Effect.provide(layerRunning))
