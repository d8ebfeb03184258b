import { formatCount, formatDuration } from './format';

/** Where a training stands; what is not known yet is null. */
export interface ProgressState {
  label: string;
  step: number;
  steps: number;
  loss: number | null;
  valLoss: number | null;
  tokensPerSecond: number | null;
  secondsLeft: number | null;
}

const SEPARATOR = ' · ';
const WIDEST_BAR = 24;
/** A bar of fewer cells shows nothing that the percentage does not. */
const NARROWEST_BAR = 4;

/** The numbers as text, most wanted last to go: without the validation loss first, then without the step. */
function numbers({ step, steps, loss, valLoss, tokensPerSecond, secondsLeft }: ProgressState) {
  const validation = valLoss === null ? [] : [`val ${valLoss.toFixed(3)}`];
  const position = [`step ${step}/${steps}`];
  const learned = loss === null ? [] : [`loss ${loss.toFixed(3)}`];
  const pace = [
    ...(tokensPerSecond === null ? [] : [`${formatCount(tokensPerSecond)} tokens/s`]),
    ...(secondsLeft === null ? [] : [`${formatDuration(secondsLeft)} left`]),
  ];
  return [
    [...position, ...learned, ...validation, ...pace],
    [...position, ...learned, ...pace],
    [...learned, ...pace],
  ].map((parts) => parts.join(SEPARATOR));
}

/** The whole story in one line, for a log. */
export function progressText(state: ProgressState): string {
  return [state.label, numbers(state)[0]].join(SEPARATOR);
}

/**
 * A line with a bar that fits a terminal. Loss, speed and time left stay; where there is no room the validation loss
 * goes first, then the step, then the bar gets shorter, and last the label.
 *
 * @param columns width of the terminal in characters
 */
export function progressBar(state: ProgressState, columns: number): string {
  const share = state.steps === 0 ? 1 : Math.min(1, state.step / state.steps);
  const percentage = `${Math.floor(100 * share)}%`;
  const line = (label: string, cells: number, text: string) => {
    const full = Math.round(share * cells);
    const bar = '█'.repeat(full) + '░'.repeat(cells - full);
    const head = [label, bar, percentage].filter((part) => part !== '').join(' ');
    return text === '' ? head : head + SEPARATOR + text;
  };
  const forms = numbers(state);
  const fitting = forms
    .map((text) => line(state.label, WIDEST_BAR, text))
    .find((candidate) => candidate.length <= columns);
  if (fitting !== undefined) return fitting;
  const least = forms[forms.length - 1];
  const room = columns - line(state.label, 0, least).length - 1;
  if (room >= NARROWEST_BAR) return line(state.label, room, least);
  const labelRoom = columns - line('', NARROWEST_BAR, least).length - 1;
  return line(state.label.slice(0, Math.max(0, labelRoom)), NARROWEST_BAR, least).slice(0, columns);
}
