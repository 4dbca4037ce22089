"""The report with pictures: one HTML page that needs nothing else. Facts and pictures are gathered by the engine."""
