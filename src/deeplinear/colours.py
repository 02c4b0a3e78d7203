"""The colours of pictures, for those who draw with matplotlib and for those who do not."""

#: Okabe and Ito's colours, distinct for every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
