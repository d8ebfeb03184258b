import { requireAxes, requireFloat, requireInt, requireSameDevice, requireValues } from './checks';
import { Tensor, record } from './tensor';
import { withWorkspace } from './workspace';

/**
 * Rows of a table by number.
 *
 * @param ids int32 [...], each from 0 to vocabulary − 1
 * @param table [vocabulary, width]
 * @returns [..., width]
 * @throws OUT_OF_RANGE for an id outside the table: here where the host knows the ids, else at the
 *   next read
 */
export function embedding(ids: Tensor, table: Tensor): Tensor {
  requireInt('ids', ids);
  requireFloat('table', table);
  requireAxes('table', table, ['vocabulary', 'width']);
  const [vocab, width] = table.shape as [number, number];
  requireValues('ids', ids, 0, vocab - 1);
  const device = requireSameDevice({ ids, table });
  const tokens = ids.size;
  return withWorkspace(device, (workspace) => {
    const rows = ids.storage;
    const y = workspace.allocate(tokens * width);
    device.ops.embedding(tokens, vocab, width, rows.buffer, table.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), [...ids.shape, width]);
    record('embedding', [result], [table], [rows], ([dy], sink) => {
      const dtable = sink.allocate(vocab * width);
      device.ops.embeddingBackward(tokens, vocab, width, rows.buffer, dy!.buffer, dtable.buffer);
      sink.add(0, dtable);
    });
    return result;
  });
}
